"""Coverage-guided fuzzing with Atheris, which is based on libFuzzer.

`python -m tests.fuzz.engine idx,card 600` fuzzes two targets for ten minutes each; `all` stands for
all targets.

The fuzzer does not stop at the first failure. Of every kind of failure (the error and the line that
raised it; more than ten seconds of processor time is an error too) one input is saved under
`runs/fuzz/TARGET/findings`, and the exit code says whether there are any. Inputs that reached new
branches are saved beside them, so that the next run starts from them.
"""

import hashlib
import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz import targets
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "fuzz"
MOST_SECONDS = 10.0  # Processor time for an input of at most 4 kB.


def fuzz(name, seconds):
    """Fuzz one target in its own process; print the figures; return the findings."""
    home = RUNS / name
    findings, corpus = home / "findings", home / "corpus"
    for folder in (findings, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in TARGETS[name].seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = home / "words.dict"  # With at least one word: the fuzzer refuses an empty file.
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in (*TARGETS[name].words, b"\n")))
    command = [sys.executable, "-m", "tests.fuzz.engine", name, "--worker", str(corpus),
               f"-max_total_time={seconds}", "-timeout=300", "-rss_limit_mb=4096", "-max_len=4096",
               f"-dict={words}", f"-artifact_prefix={findings}/", "-print_final_stats=1", "-seed=1",
               "-verbosity=1"]  # fmt: skip
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    log = home / "log.txt"
    with log.open("wb") as stream:
        done = subprocess.run(
            command, stderr=stream, stdout=stream, cwd=ROOT, env=environment, check=False
        )
    text = log.read_text(errors="replace")
    found = sorted(p for p in findings.iterdir() if p.suffix != ".txt")
    print(f"{name}: {_figures(text)}; {len(found)} findings; exit code {done.returncode}")
    for path in found:
        print(f"  {path.relative_to(ROOT)}: {_reason(path)}")
    return found or ([log] if done.returncode else [])


def _figures(log):
    """Return the number of executions, and of the edges and features of the code they reached."""
    runs = re.findall(r"stat::number_of_executed_units:\s*(\d+)", log)
    reached = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", log)
    if not runs or not reached:
        return "no figures: see log.txt"
    first, last = reached[0], reached[-1]
    return (
        f"{int(runs[-1]):,} executions; edges {first[0]} -> {last[0]}, features {first[1]} -> "
        f"{last[1]}, corpus {last[2]}"
    )


def _reason(path):
    note = path.with_suffix(".txt")
    return note.read_text(errors="replace").strip().splitlines()[-1] if note.exists() else "crash"


def _escaped(word):
    return "".join(f"\\x{byte:02x}" for byte in word)


def _work(name, arguments):
    """Run the fuzzer in this process; never returns."""
    import atheris

    target = TARGETS[name]
    # The fuzzer only sees modules that are imported now, so import them again, except NumPy, which
    # cannot be imported twice.
    again = {module.split(".")[0] for module in target.modules} - {"numpy"}
    for module in [m for m in sys.modules if m.split(".")[0] in again]:
        del sys.modules[module]
    with atheris.instrument_imports(include=list(target.modules)):
        for module in target.modules:
            importlib.import_module(module)
    target = importlib.reload(targets).TARGETS[name]
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder:
        guarded = _saving_failures(target.run, Path(folder), RUNS / name / "findings")
        atheris.Setup([sys.argv[0], *arguments], guarded)
        atheris.Fuzz()


def _memory_folder():
    """Return a file system in memory if there is one: every execution writes a file."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _saving_failures(run, folder, findings):
    """Return the target, changed to save one input of every kind of failure."""
    seen = set()

    def guarded(data):
        start = time.process_time()
        try:
            run(data, folder)
            # Processor time, because other processes may be using the machine.
            assert time.process_time() - start < MOST_SECONDS, "slow"
        except Exception as error:  # noqa: BLE001  Every error is a finding.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__}-{Path(frame.filename).stem}-{frame.lineno}"
            if kind not in seen:
                seen.add(kind)
                (findings / f"{kind}.bin").write_bytes(data)
                (findings / f"{kind}.txt").write_text(traceback.format_exc(), errors="replace")

    return guarded


def main():
    name, *rest = sys.argv[1:]
    if rest[0] == "--worker":
        _work(name, rest[1:])
    else:
        names = TARGETS if name == "all" else name.split(",")
        found = [fuzz(each, int(rest[0])) for each in names]
        sys.exit(1 if any(found) else 0)


if __name__ == "__main__":
    main()
