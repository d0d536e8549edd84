# One image for every role; docker-compose.yml says which command each container runs.

FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/voice
WORKDIR /src
# The dependencies alone first: they change seldom, and this layer is kept while only the code changes.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > dependencies.txt \
 && /opt/voice/bin/pip install -c constraints.txt -r dependencies.txt
COPY . .
# Of pyproject.toml's optional dependencies, by commas: --build-arg EXTRAS=otel
ARG EXTRAS=""
RUN /opt/voice/bin/pip install -c constraints.txt ".${EXTRAS:+[$EXTRAS]}"

FROM python:3.11-slim
ENV PATH=/opt/voice/bin:$PATH PYTHONUNBUFFERED=1 VOICE_DATA_DIR=/data
RUN groupadd --gid 10001 voice \
 && useradd --uid 10001 --gid voice --home-dir /data --no-create-home --shell /usr/sbin/nologin voice \
 && install -d -o voice -g voice -m 700 /data
COPY --from=build /opt/voice /opt/voice
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["voice", "api", "--host", "0.0.0.0", "--port", "8000"]
