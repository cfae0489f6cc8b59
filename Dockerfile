# Capstan's images, for those who build with Docker; `make images` makes the same without.
#   docker build --target capstan-sidecar --tag capstan-sidecar:0.1.0 .
#   docker build --target capstan-operator --tag capstan-operator:0.1.0 .
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
# Linked statically, so that they start on an empty base.
RUN for program in capstan-sidecar capstan-operator; do \
      cargo rustc --locked --profile dist --package "$program" --bin "$program" -- -C target-feature=+crt-static || exit; \
    done

FROM scratch AS capstan-sidecar
COPY --from=build /source/target/dist/capstan-sidecar /capstan-sidecar
USER 65532:65532
ENTRYPOINT ["/capstan-sidecar"]

FROM scratch AS capstan-operator
COPY --from=build /source/target/dist/capstan-operator /capstan-operator
USER 65532:65532
ENTRYPOINT ["/capstan-operator"]
