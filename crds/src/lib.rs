//! The custom resources of Capstan, group `capstan.dev`, version `v1alpha1`: what users write.
