ARG BASE=python:3.14-slim-trixie

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv --without-pip /opt/rytask \
    && pip --python /opt/rytask/bin/python install --no-compile --only-binary :all: \
        --require-hashes -r requirements.lock \
    # bullmq's release tools, which nothing imports.
    && rm -r /opt/rytask/lib/python*/site-packages/node_modules
COPY requirements-dev.lock ./
RUN python -m venv --without-pip /opt/build \
    && pip --python /opt/build/bin/python install --require-hashes -c requirements-dev.lock hatchling
COPY pyproject.toml README.md LICENSE ./
COPY src src
# The root file system is read-only at run time, so all bytecode is compiled here.
RUN pip --python /opt/build/bin/python wheel --no-deps --no-build-isolation -w dist . \
    && pip --python /opt/rytask/bin/python install --no-compile --no-deps dist/*.whl \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/rytask/lib

FROM ${BASE}
# The official Python image ships its standard library uncompiled: each start would compile it again.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -x 'site-packages|dist-packages|ensurepip|idlelib|pydoc_data|turtledemo' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && groupadd --gid 10001 rytask \
    && useradd --uid 10001 --gid rytask --no-create-home --home-dir /tmp --no-log-init \
        --shell /usr/sbin/nologin rytask
COPY --from=build /opt/rytask /opt/rytask
ENV PATH=/opt/rytask/bin:$PATH \
    PORT=3001 \
    METRICS_PORT=9001 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="RyTask" \
      org.opencontainers.image.description="An issue tracker your team hosts itself" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later"
USER 10001:10001
WORKDIR /tmp
EXPOSE 3001 9001
STOPSIGNAL SIGTERM
# Both roles answer on METRICS_PORT.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-ISc", \
    "import http.client, os; probe = http.client.HTTPConnection('127.0.0.1', int(os.environ['METRICS_PORT']), timeout=4); probe.request('GET', '/healthz'); raise SystemExit(probe.getresponse().status != 200)"]
ENTRYPOINT ["rytask"]
CMD ["serve"]
