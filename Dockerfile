# The HTTP service as an image:
#   docker build --tag standpoint .
#   docker run --rm --read-only --tmpfs /tmp --publish 8080:8080 --volume "$PWD/runs/train/checkpoint:/model:ro" standpoint
# Settings come after the image's name, such as engine=torch or limits.body_mb=4; tokens in STANDPOINT_TOKENS.
# Checked without a container engine by benchmarks/image_check.py.

FROM python:3.11-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=serve
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN ["python", "-m", "venv", "/opt/standpoint"]
WORKDIR /src
COPY .ci/constraints.txt ./
# The index's own wheel holds no CUDA; without it, several gigabytes would come along.
RUN /opt/standpoint/bin/pip install --constraint constraints.txt --no-deps --index-url "${TORCH_INDEX}" torch
COPY pyproject.toml README.md LICENSE ./
COPY annotations ./annotations
COPY inference ./inference
COPY training ./training
RUN /opt/standpoint/bin/pip install --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.11-slim
COPY --from=build /opt/standpoint /opt/standpoint
ENV PATH=/opt/standpoint/bin:$PATH HOME=/nonexistent LOGNAME=standpoint
ENV HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Any other number does as well (--user): nothing is written but a copy of the model under /tmp, and it must be readable to it.
USER 10001:10001
WORKDIR /model
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "inference.service", "/model", "host=0.0.0.0", "port=8080"]
