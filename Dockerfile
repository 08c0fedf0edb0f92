# A small image with the one program in it: docker build -t keyhole .
#
# The program is linked to glibc and libgcc, which the image has, so it needs certificates alone. It runs as a user
# of its own; the data directory is a volume.
FROM rust:1-bookworm AS build
WORKDIR /keyhole
COPY . .
RUN cargo build --profile dist --locked --bin keyhole && strip target/dist/keyhole

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 1000 --home-dir /var/lib/keyhole --create-home keyhole \
    && install --directory --owner keyhole --group keyhole --mode 0700 /var/lib/keyhole/data
COPY --from=build /keyhole/target/dist/keyhole /usr/local/bin/keyhole
USER keyhole
ENV KEYHOLE_DATA_DIR=/var/lib/keyhole/data
VOLUME /var/lib/keyhole/data
EXPOSE 8471
# TLS is the proxy's in front of it, or: --tls-cert and --tls-key instead of --insecure.
ENTRYPOINT ["keyhole"]
CMD ["serve", "--listen", "0.0.0.0:8471", "--insecure"]
