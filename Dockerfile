# The image has callhome-relay and no other program. docs/container.md says how to build and run it.

FROM rust:1.95-bookworm AS build
WORKDIR /src

# The dependencies are built in a layer of their own, which lasts as long as the manifests. Cargo
# needs the manifest and the source root of every package, so empty roots are built here. A further
# package has a COPY of its manifest here, a COPY of its sources below, and a line in .dockerignore.
COPY Cargo.toml Cargo.lock ./
COPY settings/Cargo.toml settings/
COPY trail/Cargo.toml trail/
COPY deploy/static.toml deploy/
RUN mkdir relay \
    && for package in relay $(dirname */Cargo.toml); do touch "$package/lib.rs"; done \
    && echo 'fn main() {}' > relay/main.rs \
    && cargo build --profile dist --locked -p callhome-relay --config deploy/static.toml

COPY settings settings
COPY trail trail
COPY relay relay
# A copy keeps the time of the original, and cargo compares times: the sources must be newer than
# the empty roots.
RUN touch */lib.rs relay/main.rs \
    && cargo build --profile dist --locked -p callhome-relay --config deploy/static.toml

# These files go into the image. The parents of the state's directory are made here too, because
# some builders would give them to its owner.
RUN install -D --mode=0755 target/*/dist/callhome-relay image/usr/bin/callhome-relay \
    && install -D --mode=0644 /etc/ssl/certs/ca-certificates.crt image/etc/ssl/certs/ca-certificates.crt \
    && echo 'callhome-relay:x:65532:65532::/var/lib/callhome-relay:/nonexistent' > image/etc/passwd \
    && echo 'callhome-relay:x:65532:' > image/etc/group \
    && mkdir -p image/var/lib \
    && install -d --mode=0750 state state/audit

FROM scratch
COPY --from=build /src/image/ /
COPY --from=build --chown=65532:65532 /src/state/ /var/lib/callhome-relay/

# The trail goes to the directory `audit` in here. `demo` needs a place for its own trail.
ENV STATE_DIRECTORY=/var/lib/callhome-relay TMPDIR=/var/lib/callhome-relay
VOLUME /var/lib/callhome-relay
USER 65532:65532
EXPOSE 3128

# The check asks only whether the relay lives. An engine may restart an unhealthy container, and a
# restart helps neither a relay that drains nor a full disk.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/usr/bin/callhome-relay", "health", "--live"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/callhome-relay"]
CMD ["serve"]

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="callhome-relay" \
    org.opencontainers.image.description="An allowlisting CONNECT relay for machines that must call home and may do nothing else" \
    org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION"
