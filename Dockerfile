# The images of the worker and the operator, and one of the command: one static program on an empty file system, run as nobody.
#
#   docker build --target command  --tag unbloat .
#   docker build --target worker   --tag unbloat-worker .
#   docker build --target operator --tag unbloat-operator .
#
# `cargo xtask image` makes those of worker and operator without a daemon. Base images are arguments: BUILD_IMAGE needs Rust, a C compiler and
# a bundle of certificates; RUNTIME_IMAGE may be anything, empty by default.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
ARG CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
# Where the sources lie inside: cargo takes a lent `target` for its own only where they have the path that they were built from.
ARG SOURCE=/src
WORKDIR ${SOURCE}
COPY . .
# Naming the target keeps the flags away from build scripts and macros, which cannot be static.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --locked --release --target "$target" --package unbloat-worker --package unbloat-operator --package unbloat \
    && mkdir -p /image/etc/ssl/certs \
    && cp "target/$target/release/unbloat-worker" "target/$target/release/unbloat-operator" "target/$target/release/unbloat" /image/ \
    && cp "$CERTIFICATES" /image/etc/ssl/certs/ca-certificates.crt \
    && printf 'nonroot:x:65532:65532::/:/sbin/nologin\n' > /image/etc/passwd

FROM ${RUNTIME_IMAGE} AS base
COPY --from=build /image/etc /etc
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532

FROM base AS command
COPY --from=build /image/unbloat /unbloat
LABEL org.opencontainers.image.title="unbloat" org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/unbloat"]

FROM base AS worker
COPY --from=build /image/unbloat-worker /unbloat-worker
LABEL org.opencontainers.image.title="unbloat-worker" org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/unbloat-worker"]

FROM base AS operator
COPY --from=build /image/unbloat-operator /unbloat-operator
LABEL org.opencontainers.image.title="unbloat-operator" org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/unbloat-operator"]
