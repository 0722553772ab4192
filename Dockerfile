# One image for every role: docker run IMAGE train | schedule | serve | produce ...
FROM python:3.11.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/hsnn
ENV PATH=/opt/hsnn/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Dependencies first: they change less often than the code. The lock pins the versions; of these, only
# what the project needs to run is installed, and what builds the wheel.
COPY pyproject.toml requirements.lock ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > wanted.txt \
    && pip install -c requirements.lock -r wanted.txt setuptools
COPY README.md ./
COPY monitoring monitoring
COPY streaming streaming
COPY trainer trainer
COPY indexer indexer
COPY serving serving
# the console shows it; a link in serving/console/static
COPY docs/operations.md docs/operations.md
COPY evaluation evaluation
COPY hsnn hsnn
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . && pip install --no-deps dist/hsnn-*.whl

FROM python:3.11.13-slim
RUN useradd --uid 10001 --create-home hsnn && install -d -o hsnn -g hsnn /var/lib/hsnn
COPY --from=build /opt/hsnn /opt/hsnn
ENV PATH=/opt/hsnn/bin:$PATH PYTHONUNBUFFERED=1
USER hsnn
# checkpoints and the cache of data sets
WORKDIR /var/lib/hsnn
VOLUME /var/lib/hsnn
EXPOSE 8080 9101 9102
ENTRYPOINT ["hsnn"]
CMD ["--help"]
