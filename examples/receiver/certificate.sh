#!/bin/sh
# Prints, for kubectl apply: the Secret receiver-certificate for the receiver and the ConfigMap receiver-ca for those who
# send to it. The certificate is for the names that the Service `receiver` has inside its namespace; a new one each time.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -days 365 -subj "/CN=receiver example CA" -out ca.crt \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign"
openssl ecparam -name prime256v1 -genkey -noout -out tls.key
openssl req -new -key tls.key -subj "/CN=receiver" -out tls.csr
printf '%s\n' "subjectAltName=DNS:receiver" "extendedKeyUsage=serverAuth" "basicConstraints=CA:FALSE" >leaf.ext
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -extfile leaf.ext -out tls.crt 2>openssl.log ||
  { cat openssl.log >&2; exit 1; }

indented() { sed 's/^/    /' "$1"; }
cat <<END
apiVersion: v1
kind: Secret
metadata:
  name: receiver-certificate
type: kubernetes.io/tls
stringData:
  ca.crt: |
$(indented ca.crt)
  tls.crt: |
$(indented tls.crt)
  tls.key: |
$(indented tls.key)
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: receiver-ca
data:
  ca.crt: |
$(indented ca.crt)
END
