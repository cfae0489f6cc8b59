//! Tests of Capstan on a real cluster: their vocabulary. Needs nothing but a KUBECONFIG and the names of images.
