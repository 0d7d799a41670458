# The cache mounts need BuildKit, which docker build uses since Docker 23.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download
COPY cmd cmd
COPY internal internal
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -buildvcs=false -trimpath -ldflags "-s -w -X lyftr/internal/cli.version=$VERSION" -o /out/lyftr ./cmd/lyftr
# A new volume takes its owner from the folder that it is mounted on.
RUN mkdir /out/data

FROM scratch
# Whom to believe: a collector of traces, or a database with sslmode=verify-full.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/lyftr /lyftr
COPY --from=build --chown=65532:65532 /out/data /data
ENV DATABASE_URL=sqlite:////data/app.db
USER 65532:65532
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/lyftr", "healthcheck"]
ENTRYPOINT ["/lyftr"]
CMD ["serve"]
