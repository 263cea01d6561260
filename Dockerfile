# The jam in the browser, in a container.
#
#   docker build --target cpu -t magenta-midi .
#   docker run -p 8765:8765 magenta-midi          # prints the address
#
# For an NVIDIA GPU: --target cuda, and `docker run --gpus all`.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY magenta_midi magenta_midi
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    HOME=/home/player \
    XDG_DATA_HOME=/data \
    XDG_CACHE_HOME=/data/cache
# libasound2: of the wheels of rtmidi, which is imported also without ports.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libasound2=1.2.* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --home-dir /home/player --uid 10001 player \
    && install -d -o player -g player /data
COPY --from=build /wheels /wheels
EXPOSE 8765
VOLUME /data
# Without the token it says only that the server answers.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8765/healthz', timeout=4)"]

FROM base AS cuda
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[server,train]" "jax[cuda12]>=0.8,<0.12"
USER 10001
ENTRYPOINT ["magenta-midi", "serve", "--host", "0.0.0.0"]

FROM base AS cpu
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[server,train]"
USER 10001
ENTRYPOINT ["magenta-midi", "serve", "--host", "0.0.0.0"]
