"""Coverage-guided fuzzing by Atheris, that is by libFuzzer.

`python -m tests.fuzz.engine idx,card 600` gives two targets ten minutes each; `all` names all.

The fuzzer does not stop at the first finding: of every kind (the error, and the line that raised
it; more than ten seconds on a processor are an error too) one input is kept under
`runs/fuzz/TARGET/findings`, and the exit code says whether there are any. Inputs that reached new
branches are kept beside them, so that the next run starts there.
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
MOST_SECONDS = 10.0  # That a reader may think about four kilobytes.


def fuzz(name, seconds):
    """Fuzz one target in a process of its own; print the figures; return the findings."""
    home = RUNS / name
    findings, corpus = home / "findings", home / "corpus"
    for folder in (findings, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in TARGETS[name].seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = home / "words.dict"  # Not empty, which the fuzzer refuses.
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
    """Executions, and how many edges and features of the code they reached."""
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
    """Become the fuzzer: this call never returns."""
    import atheris

    target = TARGETS[name]
    # What is imported already is not seen by the fuzzer: it is imported again. NumPy cannot be.
    again = {module.split(".")[0] for module in target.modules} - {"numpy"}
    for module in [m for m in sys.modules if m.split(".")[0] in again]:
        del sys.modules[module]
    with atheris.instrument_imports(include=list(target.modules)):
        for module in target.modules:
            importlib.import_module(module)
    target = importlib.reload(targets).TARGETS[name]
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        guarded = _keeping(target.run, Path(folder), RUNS / name / "findings")
        atheris.Setup([sys.argv[0], *arguments], guarded)
        atheris.Fuzz()


def _memory():
    """A file system in memory, where there is one: a fuzzer writes a file each time."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _keeping(run, folder, findings):
    """The target, with one input kept of every kind of failure."""
    seen = set()

    def guarded(data):
        start = time.process_time()
        try:
            run(data, folder)
            # Not by the clock on the wall, which goes on while a busy machine does other things.
            assert time.process_time() - start < MOST_SECONDS, "slow"
        except Exception as error:  # noqa: BLE001  Whatever it is, it is a finding.
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
