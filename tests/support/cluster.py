"""Slurm on this machine: munged, slurmctld and two slurmd on loopback, in one private folder."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

NODES = ("n1", "n2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
# Debian has the daemons where only root's path leads
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

CONFIG = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Jobs are held to the memory they asked for
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
# Jobs that have ended can be asked for until the tests are through
MinJobAge=3600
# A node that is gone is noticed, and a job that is stopped is gone, within seconds
SlurmdTimeout=10
KillWait=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=8 RealMemory=64000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=8 RealMemory=64000
PartitionName=small Nodes=n1,n2 Default=YES LLN=YES MaxTime=INFINITE
"""


def missing() -> list[str]:
    """Programs of Slurm and munge that this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]


def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.25)


class Cluster:
    """Two nodes that are this machine; as a context, everything started is stopped at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", "bin", *NODES):
            (folder / name).mkdir(parents=True)
        ports = dict(zip(("controller", *NODES), free_ports(3), strict=True))
        host = socket.gethostname().partition(".")[0]
        self.config.write_text(
            CONFIG.format(folder=folder, host=host, user=getpass.getuser(), **ports)
        )
        # Snakemake's job steps lose every SLURM_ variable, and with it the way to this cluster
        wrapper = folder / "bin/srun"
        srun = shutil.which("srun", path=SEARCHED)
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.config} exec {srun} "$@"\n')
        wrapper.chmod(0o755)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SNAKEMAKE"))},
            "SLURM_CONF": str(self.config),
            "PATH": f"{folder / 'bin'}{os.pathsep}{SEARCHED}",
        }

    def __enter__(self) -> Cluster:
        try:
            key = self.folder / "munge.key"
            key.write_bytes(os.urandom(128))
            key.chmod(0o600)
            files = ("socket", "pid-file", "log-file", "seed-file")
            options = [f"--{name}={self.folder}/munge.{name.partition('-')[0]}" for name in files]
            self.start("munged", "--foreground", "--force", f"--key-file={key}", *options)
            wait((self.folder / "munge.socket").exists, 20, "munged listens")
            self.start("slurmctld", "-D")
            for node in NODES:
                self.start("slurmd", "-D", "-N", node, name=node)
            wait(lambda: self.states() == {"IDLE"}, 60, "both nodes are idle")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, program: str, *arguments: str, name: str | None = None) -> None:
        path = shutil.which(program, path=SEARCHED)
        assert path is not None
        self.daemons[name or program] = subprocess.Popen(
            [path, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / f"{name or program}.stderr").open("wb"),
        )

    def ask(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout

    def states(self) -> set[str]:
        """States of the nodes, as Slurm sees them."""
        return set(re.findall(r" State=(\S+)", self.ask("scontrol", "show", "nodes", "--oneliner")))

    def jobs(self) -> list[dict[str, str]]:
        """Everything that Slurm knows of each job there has been."""
        lines = self.ask("scontrol", "show", "jobs", "--oneliner").splitlines()
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines if "JobId=" in line]

    def stop_node(self, node: str) -> None:
        """Let a node go dark: its daemon and its jobs are gone at once, and no word is said."""
        self.daemons[node].kill()
        self.daemons[node].wait()
        on_node = [p for p in self.processes() if environment(p).get("SLURMD_NODENAME") == node]
        # Those that watch over the jobs first, or they would tell
        watching = {p.parent() for p in on_node} - {None}
        doomed = [p for p in watching if "slurmstepd" in command(p)] + on_node
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(doomed, timeout=10)

    def processes(self) -> list[psutil.Process]:
        """List what runs of this cluster: its daemons, and the processes of its jobs."""
        return [
            process
            for process in psutil.process_iter()
            if environment(process).get("SLURM_CONF") == str(self.config)
        ]

    def stop(self) -> None:
        """Cancel the jobs, then stop the daemons, the one that vouches for the others last."""
        if "slurmctld" in self.daemons:
            self.ask("scancel", "--user", getpass.getuser())
            end = time.monotonic() + 15
            while self.ask("squeue", "--noheader").strip() and time.monotonic() < end:
                time.sleep(0.5)
        for name in (*NODES, "slurmctld", "munged"):
            daemon = self.daemons.pop(name, None)
            if daemon is not None:
                daemon.send_signal(signal.SIGTERM)
                try:
                    daemon.wait(10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
        # What a busy machine has not ended by then
        for process in psutil.wait_procs(self.processes(), timeout=15)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def environment(process: psutil.Process) -> dict[str, str]:
    with suppress(psutil.Error):
        return process.environ()
    return {}


def command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
