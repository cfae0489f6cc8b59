# One of Capstan's images, for those who build with Docker; `make images` needs none.
#   docker build --build-arg PROGRAM=capstan-sidecar --tag capstan-sidecar:0.1.0 .
#   docker build --build-arg PROGRAM=capstan-operator --tag capstan-operator:0.1.0 .
FROM rust:1.95-bookworm AS build
ARG PROGRAM
WORKDIR /source
COPY . .
# Linked statically, so that it starts on an empty base.
RUN cargo rustc --locked --profile dist --package "$PROGRAM" --bin "$PROGRAM" -- -C target-feature=+crt-static \
 && cp "target/dist/$PROGRAM" /program

FROM scratch
COPY --from=build /program /program
USER 65532:65532
ENTRYPOINT ["/program"]
