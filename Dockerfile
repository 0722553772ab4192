# One image for every role: docker run IMAGE train | schedule | serve | produce ...
# A smaller one, without PyTorch, for `hsnn serve`: docker build --target server.
FROM python:3.11.13-slim AS server-dependencies
WORKDIR /src
RUN python -m venv /opt/hsnn
ENV PATH=/opt/hsnn/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Dependencies first: they change less often than the code. The lock pins the versions; of these, only
# what the project needs to run is installed, and what builds the wheel.
COPY pyproject.toml requirements.lock ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > wanted.txt \
    && pip install -c requirements.lock -r wanted.txt setuptools

FROM server-dependencies AS dependencies
RUN python -c "import tomllib; extras = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; \
      print(*(text for text in extras['arrow'] + extras['train'] if not text.startswith('hsnn')), sep='\n')" > wanted.txt \
    && pip install -c requirements.lock -r wanted.txt

FROM server-dependencies AS wheel
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
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist .

FROM server-dependencies AS server-build
COPY --from=wheel /src/dist dist
RUN pip install --no-deps dist/hsnn-*.whl

FROM dependencies AS build
COPY --from=wheel /src/dist dist
RUN pip install --no-deps dist/hsnn-*.whl

FROM python:3.11.13-slim AS runtime
RUN useradd --uid 10001 --create-home hsnn && install -d -o hsnn -g hsnn /var/lib/hsnn
ENV PATH=/opt/hsnn/bin:$PATH PYTHONUNBUFFERED=1
USER hsnn
# checkpoints and the cache of data sets
WORKDIR /var/lib/hsnn
VOLUME /var/lib/hsnn
EXPOSE 8080 9101 9102
ENTRYPOINT ["hsnn"]
CMD ["--help"]

FROM runtime AS server
COPY --from=server-build /opt/hsnn /opt/hsnn

FROM runtime
COPY --from=build /opt/hsnn /opt/hsnn
