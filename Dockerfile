# Affectstream itself, to preprocess, train, evaluate, predict, export and serve.
#
#   docker build -t affectstream .
#   docker run --rm affectstream --help
#   docker run --rm -v "$PWD/runs:/app/runs" -v "$PWD/clips:/clips:ro" \
#     affectstream predict --model runs/mine /clips/one.mp4
#
# To serve a model with its page, for this machine only; inside of the container it must listen to all
# addresses, so it is given a token, by name and not by value, that the command line does not show:
#
#   export AFFECTSTREAM_TOKEN="$(openssl rand -hex 24)"
#   docker run --rm -p 127.0.0.1:8501:8501 -p 127.0.0.1:8500:8500 -e AFFECTSTREAM_TOKEN \
#     -v "$PWD/exports:/app/exports:ro" affectstream serve --model exports/mine --host 0.0.0.0
#
# No port is declared (EXPOSE): most commands listen to none, and -p does without it.
#
# Its steps are those of `make`, which CI runs as well; only installing make, the user and the copying
# are its own. No container engine ran where it was written: that it builds is unproven. A mounted
# folder must be writable for user 1000.
FROM python:3.11-slim

RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app

# What changes rarely comes first: about 3 GB of packages stay cached when only the source changes.
COPY Makefile requirements.txt constraints.txt ./
RUN make .venv/.installed

COPY . .
RUN make .venv/.libraries \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 affectstream \
    && mkdir -p data runs exports \
    && chown affectstream: . data runs exports
USER affectstream

ENV PATH="/app/.venv/bin:$PATH"
ENTRYPOINT ["python", "cli.py"]
CMD ["--help"]
