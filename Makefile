# `make run` and `make test` do all set-up themselves; a second call does none.
BIN := .venv/bin
AREA ?= all
PORT ?= 5000
# Two threads on two busy cores make updates many times slower: one per process unless the user says otherwise.
export OMP_NUM_THREADS ?= 1
# Where images set it, every process that a test or a sweep starts would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-cluster lint bench browse docs gpu-check setup help

run: setup
	$(BIN)/visagent-train experiment=navigation/dagger

# Without the slow tests; `make test SLOW=1` runs them too, and `make test CLUSTER=1` those on a Slurm of their own,
# with four workers: they wait for jobs most of the time.
test: setup lint
	$(BIN)/pytest -n $(if $(CLUSTER),4,2) --dist loadgroup --durations=25 -m "$(if $(SLOW),$(if $(CLUSTER),,not cluster),$(if $(CLUSTER),not slow,not slow and not cluster))"

# The tests on a Slurm of their own: two nodes on this machine, which tools/slurm-dev starts and ends; apt installs it.
test-cluster: export VISAGENT_REQUIRE_SLURM = 1
test-cluster: setup
	$(BIN)/pytest -n 0 --durations=25 -m cluster

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

# In its short form, up to five minutes an area on two cores; `make bench BENCH=long` for more rounds and peers.
bench: setup
	@$(BIN)/python -c 'import stable_baselines3' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks $(AREA)

browse: setup
	@test -f outputs/mlflow.db || { echo "no tracked run yet: type 'make run' first" >&2; exit 1; }
	@$(BIN)/python -c 'from pathlib import Path; from visagent.runtime.tracking import tend; tend(Path("outputs"))'
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db --host 127.0.0.1 --port $(PORT)

# The checks that need a CUDA device: the device tests, a training of each family on it, the benchmarks of rollouts and of the op.
gpu-check: setup
	$(BIN)/pytest -m gpu -n 0
	$(BIN)/visagent-train experiment=navigation/dagger trainer.accelerator=gpu name=gpu-check
	$(BIN)/visagent-train experiment=rubiksnet/something_v2 trainer.accelerator=gpu trainer.precision=bf16-mixed name=gpu-check
	$(BIN)/visagent-train experiment=ppo/half_cheetah trainer.accelerator=gpu trainer.max_epochs=2 name=gpu-check
	$(BIN)/visagent-train experiment=ddpg/pendulum trainer.accelerator=gpu trainer.max_epochs=2 name=gpu-check
	$(BIN)/visagent-train experiment=option_mappo/tool_delivery trainer.accelerator=gpu trainer.max_epochs=4 name=gpu-check
	$(BIN)/visagent-train experiment=secant/expert_paper trainer.accelerator=gpu trainer.max_epochs=2 name=gpu-check
	$(BIN)/visagent-train experiment=secant/student_from_states trainer.accelerator=gpu trainer.max_epochs=2 name=gpu-check
	$(BIN)/visagent-train experiment=secant/inverse_dynamics trainer.accelerator=gpu trainer.max_epochs=2 name=gpu-check
	$(BIN)/visagent-train experiment=secant/policy_adaptation trainer.accelerator=gpu name=gpu-check \
	  'algorithm.expert.overrides=[experiment=secant/inverse_dynamics,trainer.max_epochs=2,name=gpu-check]'
	$(BIN)/python -m benchmarks navigation --device cuda
	$(BIN)/python -m benchmarks secant --device cuda
	$(BIN)/python -m benchmarks rubiksnet --device cuda
	$(BIN)/python -m benchmarks networks --device cuda

# From README.md, docs/ and the settings' dataclasses; links are checked. Nothing is fetched.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "outputs/site/index.html; with search: python -m http.server --directory outputs/site"

setup:
	@scripts/setup.sh

help:
	@echo "make run            set-up, then the main job: DAgger in four embedded rooms"
	@echo "make test           set-up, lint, types, tests; SLOW=1 for those too that take long, CLUSTER=1 for those on Slurm"
	@echo "make lint           ruff, import-linter, mypy"
	@echo "make bench          benchmarks; AREA=navigation for one area, BENCH=long for more rounds and peers"
	@echo "make browse         MLflow's pages of the runs; PORT=5000"
	@echo "make docs           the documents as a site"
	@echo "make test-cluster   tests on a Slurm of their own"
	@echo "make gpu-check      what needs a CUDA device"
	@echo "make setup          set-up alone"
