# hatchd as a sidecar. Builds with docker and buildah alike (whose own format, OCI, knows no HEALTHCHECK):
#   docker build -t hatchd .          buildah build --format docker -t hatchd .
FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libcap2-bin
COPY . /src
WORKDIR /src
# Installs what building takes, builds all but the tests, and leaves the files of the image in /image.
RUN ./dev build release daemon/all plugins/all man && packaging/image build/release /image

FROM scratch
COPY --from=build /image /
# How hatchctl finds its token, and the OpenSSL of plugins its authorities.
ENV HATCHD_TOKEN_FILE=/run/hatchd/token.header SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PATH=/usr/bin
USER 65532:65532
# The root may be read-only; these two are written.
VOLUME ["/run/hatchd", "/var/lib/hatchd"]
EXPOSE 4283
HEALTHCHECK --interval=30s --timeout=5s CMD ["/usr/bin/hatchctl", "health"]
ENTRYPOINT ["/usr/bin/hatchd"]
CMD ["serve"]
