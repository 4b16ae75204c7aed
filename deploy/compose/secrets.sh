#!/bin/sh
# Makes the secrets of deploy/compose.yaml, once, as root: files that every user may read, in a directory that only root
# can enter. Compose mounts each file into the containers that need it, with this owner and mode.
set -eu
cd "$(dirname "$0")"
if [ -e secrets ]; then
  echo "secrets exists; nothing was changed" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  echo "run this as root: in a container, only a secret of root or of the container's user is accepted" >&2
  exit 1
fi
mkdir -m 700 secrets
cd secrets
umask 333
password=$(openssl rand -hex 24)
printf '%s' "$password" > postgres_password
printf 'postgresql://tokensvc:%s@db/tokensvc' "$password" > database_url
openssl rand -hex 32 > passphrase
openssl rand -hex 16 > grafana_password
