# stylemix for machines without a GPU, with the app and the ops compiled ahead.
#
#   docker build -t stylemix .
#   docker run --rm -p 127.0.0.1:7860:7860 stylemix                          # the app, on this machine only
#   docker run --rm -v "$PWD:/work" stylemix mix --source me.jpg --style comic --output avatar.png
#
# PyTorch's own builds for CPUs are smaller by gigabytes: --build-arg TORCH_INDEX=URL, as its site names it.
FROM python:3.13-slim AS build
ARG TORCH_INDEX=""
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/stylemix
ENV PATH=/opt/stylemix/bin:$PATH
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && pip install --no-cache-dir setuptools ninja
WORKDIR /src
COPY . .
# A portable library (x86-64-v3), so that the image needs no compiler.
RUN STYLEMIX_BUILD_OPS=cpu pip install --no-cache-dir --no-build-isolation '.[app,heic,video,onnx,hub]'

FROM python:3.13-slim
COPY --from=build /opt/stylemix /opt/stylemix
ENV PATH=/opt/stylemix/bin:$PATH STYLEMIX_CACHE=/home/stylemix/.cache/stylemix
RUN useradd --create-home --uid 1000 stylemix && mkdir /work && chown stylemix /work
USER stylemix
WORKDIR /work
EXPOSE 7860
ENTRYPOINT ["stylemix"]
CMD ["app", "--host", "0.0.0.0"]
