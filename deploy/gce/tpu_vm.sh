#!/bin/bash
# Create a Cloud TPU VM or a pod slice, install this checkout there, train, delete it.
# docs/tpu.md explains the steps. All work is done by gcloud, which has to be set up.

set -euo pipefail

usage() {
  cat <<'END'
usage: deploy/gce/tpu_vm.sh [options] COMMAND [-- FLAGS OF simclr-tf2]

commands, in this order:
  create    create the TPU VM; it costs money until it is deleted
  install   copy the committed files of this checkout and install them
  train     start simclr-tf2 in the background; with --dry_run, show the command
  log       follow the log of the program; Ctrl-C ends only this
  stop      ask the program to save and end, and wait until it has
  delete    delete the TPU VM and its disk

options:
  --name=NAME        name of the TPU VM, default simclr
  --zone=ZONE        zone, such as us-central2-b; required
  --type=TYPE        accelerator type, default v4-8; more than 8 at the end is a pod slice
  --project=PROJECT  project; required for train on a pod slice, else gcloud's
  --version=VERSION  software version; default: by the type
  --spot             create a cheaper VM that may be taken away
  --dry_run          print the commands and run none
END
}

fail() {
  echo "error: $1" >&2
  exit 2
}

name=simclr zone="" type=v4-8 project="" version="" spot="" dry_run="" command=""
while (($#)); do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --spot) spot=yes ;;
    --dry_run) dry_run=yes ;;
    --help | -h) usage && exit 0 ;;
    --) shift && break ;;
    -*) fail "unknown option $1; see --help" ;;
    *)
      [[ -z $command ]] || fail "two commands, $command and $1; give one"
      command=$1
      ;;
  esac
  shift
done
[[ -n $command ]] || { usage >&2 && exit 2; }
[[ -n $zone ]] || fail "--zone is required, for example --zone=us-central2-b"
[[ $type =~ ^v[0-9].*-[0-9]+$ ]] || fail "--type=$type is no accelerator type such as v4-8"
if (($#)) && [[ $command != train ]]; then
  fail "flags of simclr-tf2 go with train, not with $command"
fi

# TPU types are named after cores or chips; one host has at most 8 of either.
pod=""
((${type##*-} <= 8)) || pod=yes
if [[ -n $pod && -z $project && $command == train ]]; then
  fail "--project is required to train on a pod slice"
fi

# A slice needs a version with TensorFlow's server on each host, of the TensorFlow release
# that the program runs on. A single host gets TensorFlow from PyPI, on a plain system.
readonly tensorflow=2.20.0
if [[ -z $version && -n $pod ]]; then
  version=tpu-vm-tf-$tensorflow-pod-pjrt
elif [[ -z $version ]]; then
  case $type in
    v5lite*) version=v2-alpha-tpuv5-lite ;;
    v5p*) version=v2-alpha-tpuv5 ;;
    v6e*) version=v2-alpha-tpuv6e ;;
    *) version=tpu-ubuntu2204-base ;;
  esac
fi

run() {
  if [[ -n $dry_run ]]; then
    printf '%q ' "$@" && echo
  else
    "$@"
  fi
}

where=("--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")

tpu() { run gcloud compute tpus tpu-vm "$@" "${where[@]}"; }

# Run a command line in the home folder of the first host.
remote() { tpu ssh "$name" --worker=0 "--command=$1"; }

create() {
  # Fails before anything is created if the zone does not offer the version.
  tpu versions describe "$version"
  tpu create "$name" "--accelerator-type=$type" "--version=$version" ${spot:+--spot}
}

install() {
  local top archive pip="python3 -m pip install --user"
  top=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
  archive=${TMPDIR:-/tmp}/simclr.tar.gz
  run git -C "$top" archive --format=tar.gz "--output=$archive" HEAD
  tpu scp "$archive" "$name:simclr.tar.gz" --worker=0
  # tensorflow and tensorflow-tpu are the same files: only one of them is installed.
  # cloud-tpu-client finds the hosts of a slice.
  local packages="tensorflow-tpu==$tensorflow"
  [[ -z $pod ]] || packages=cloud-tpu-client
  remote "set -e; rm -rf simclr; mkdir simclr; tar -xzf simclr.tar.gz -C simclr; cd simclr
$pip --upgrade pip
grep -v '^tensorflow[<>=]' requirements.txt > without_tensorflow.txt
$pip $packages -r without_tensorflow.txt
$pip --no-deps ."
}

train() {
  local program=(.local/bin/simclr-tf2 --strategy=tpu) variables=""
  if [[ -n $pod ]]; then
    # The program on the first host sends the work to TensorFlow's servers on all hosts.
    # They hold the TPU, so the program itself must not load the TPU's library.
    variables="TPU_LOAD_LIBRARY=0 "
    program+=("--tpu_name=$name" "--tpu_zone=$zone" "--gcp_project=$project")
  else
    program+=(--tpu_name=local)
  fi
  local line
  line=$(printf '%q ' "${program[@]}" "$@")
  # nohup: the program goes on when the connection ends.
  remote "${variables}nohup ${line}> simclr.log 2>&1 < /dev/null & echo \$! > simclr.pid"
}

log() { remote "tail -n 100 -f simclr.log"; }

stop() {
  # shellcheck disable=SC2016  # the remote shell reads the file
  remote 'kill -TERM "$(cat simclr.pid)"; tail -n 5 -f --pid="$(cat simclr.pid)" simclr.log'
}

delete() { tpu delete "$name" --quiet; }

case $command in
  create | install | train | log | stop | delete) "$command" "$@" ;;
  *) fail "unknown command $command; see --help" ;;
esac
