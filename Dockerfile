# The image of every part: web (default), worker, beat, watchdog, migrate.
# Pin the base by digest in production: docs/operations.md says how.
FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY requirements.lock .
RUN python -m venv /venv \
    && /venv/bin/pip install --require-hashes -r requirements.lock

FROM python:3.13-slim-bookworm
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=fortheweebs.settings \
    HOST=0.0.0.0 \
    PROBE_HOST=0.0.0.0 \
    DATA_DIR=/data
RUN groupadd --gid 10001 ftw \
    && useradd --uid 10001 --gid ftw --home-dir /data --shell /usr/sbin/nologin ftw \
    && install -d -o ftw -g ftw -m 0700 /data
COPY --from=build /venv /venv
WORKDIR /app
COPY . .
RUN SECRET_KEY=only-for-the-build DATA_DIR=/tmp/build \
    python manage.py collectstatic --noinput \
    && mv /tmp/build/static staticfiles \
    && python -m compileall -q . \
    && chmod -R a-w .
USER 10001:10001
VOLUME /data
EXPOSE 3001 4001
STOPSIGNAL SIGTERM
CMD ["gunicorn", "-c", "gunicorn.conf.py", "fortheweebs.wsgi"]
