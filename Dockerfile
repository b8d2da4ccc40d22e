# syntax=docker/dockerfile:1

# A small image with only the program, without a shell, run as an unnamed user:
#   docker build --tag sluice .
#   docker run --read-only --publish 50051:50051 --volume sluice:/data \
#     --env SLUICE_ENV=development sluice
# The image of the edge has ffmpeg too. It runs in the network of its media server:
#   docker build --target edge --tag sluice-edge .
#   docker run --read-only --network host --volume sluice-edge:/data --env-file edge.env sluice-edge

FROM rust:1.95-slim-bookworm AS build
ARG PROFILE=release
WORKDIR /build

# Dependencies have their own layer, which is rebuilt only when they change. The crate is
# empty in this layer.
COPY Cargo.toml Cargo.lock ./
COPY benches benches
RUN mkdir src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs && echo 'fn main() {}' >build.rs
RUN cargo build --locked --profile "$PROFILE" --bin sluice

# Copied files keep their times, which may be older than those of the empty crate: the
# touch makes cargo rebuild.
COPY build.rs build.rs
COPY proto proto
COPY migrations migrations
COPY src src
RUN touch build.rs src/main.rs src/lib.rs
RUN cargo build --locked --profile "$PROFILE" --bin sluice

# The files of the image. The directory of the profile `dev` is `debug`.
RUN install -d image/usr/local/bin && install -d -m 0700 image/data && install -d -m 1777 image/tmp
RUN folder=$(echo "$PROFILE" | sed 's/^dev$/debug/') && \
    install -m 0755 "${CARGO_TARGET_DIR:-target}/$folder/sluice" image/usr/local/bin/sluice

FROM debian:12-slim AS edge
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sluice edge" \
      org.opencontainers.image.description="Answers the hooks of a media server and runs relays" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates ffmpeg && apt-get clean
COPY --from=build /build/image/usr/ /usr/
COPY --from=build --chown=65532:65532 /build/image/data/ /data/

# Only the media server may reach the hooks, and only operators the operations port: set both
# addresses if the media server is not on the same machine.
ENV PATH=/usr/local/bin:/usr/bin:/bin \
    SLUICE_HOOKS_LISTEN=127.0.0.1:8085 \
    SLUICE_EDGE_OPERATIONS_LISTEN=127.0.0.1:9465 \
    SLUICE_EDGE_DIR=/data \
    TMPDIR=/data
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8085 9465
STOPSIGNAL SIGTERM
ENTRYPOINT ["sluice"]
CMD ["edge"]

# With the certificate authorities of Debian, for issuers, mail servers and collectors.
FROM gcr.io/distroless/cc-debian12
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sluice" \
      org.opencontainers.image.description="The control plane of live multistreaming, over gRPC" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /build/image/usr/ /usr/
COPY --from=build --chown=65532:65532 /build/image/data/ /data/
COPY --from=build /build/image/tmp/ /tmp/

# Production: no secret is generated in a container, whose files do not last. A missing
# secret stops the start.
ENV PATH=/usr/local/bin \
    SLUICE_ENV=production \
    SLUICE_LISTEN=0.0.0.0:50051 \
    SLUICE_OPERATIONS_LISTEN=0.0.0.0:9464 \
    SLUICE_DATA_DIR=/data
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["sluice", "health"]
ENTRYPOINT ["sluice"]
CMD ["serve"]
