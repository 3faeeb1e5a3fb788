"""The training loop [SGPO Algorithm 1]: sample with and without the strategy, verify, weigh, distil, step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sgpo.algorithms import registry
from sgpo.config import RunConfig
from sgpo.problems import Problem
from sgpo.rollouts.groups import Sampler
from sgpo.training.history import Ended
from sgpo.training.main_memory import return_freed_memory
from sgpo.training.metrics import MetricSums
from sgpo.training.optimisation import learning_rate, make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.recovery.memory import MicrobatchBudget
from sgpo.training.recovery.session import MetricsSink, TrainingSession
from sgpo.training.sampled_batches import SampledBatches
from sgpo.training.step import Gradient
from sgpo.training.sync import WeightSync
from sgpo.training.traces import Traces
from sgpo.training.validation import Validation
from sgpo.training.world import World


@dataclass(slots=True)
class Trainer:
    """What a run needs, built once by `sgpo.training.run`."""

    config: RunConfig
    policy: Policy
    sampler: Sampler
    sync: WeightSync
    world: World
    metrics: MetricsSink | None
    folder: Path
    pad_id: int
    on_published: Callable[[Path], None] | None = None
    validated_on: Sequence[Problem] = ()

    def train(self, problems: Sequence[Problem]) -> Ended:
        """Run Algorithm 1 from the newest checkpoint to the last step, or to where validation stops it.

        Raises PreemptedError after a signal, when what is done is saved, and StoppedError when steps fail in a row.
        """
        training, policy, world = self.config.training, self.policy, self.world
        algorithm = registry.build(training, self.config.seed)
        optimizer = make_optimizer(policy, training)
        budget = MicrobatchBudget(training.tokens_per_microbatch, self.folder, world)
        gradient = Gradient(policy, algorithm, training, world, self.pad_id, budget)
        validation = None
        if training.validation.every is not None:
            validation = Validation(self.config, self.sampler, self.sync, world, self.validated_on)
        session = TrainingSession(
            self.config, policy, optimizer, world, self.folder, self.metrics, self.on_published,
            algorithm.metric_names, gradient.guide, validation,
        )  # fmt: skip
        traces = Traces(training, gradient, self.sampler, problems, self.folder, session.step)
        batches = SampledBatches(self.sampler, self.sync, self.config, algorithm, problems, world, session.prefetched)
        with session, batches:
            for step in session.steps():
                # o_i ~ pi(. | q), g_i ~ pi(. | q, s), each with its reward by the verifier.
                samples = batches.of(step, session.clock)
                return_freed_memory(world.device)
                # A signal may have reached the verifier's processes too: rewards given since then are not used.
                session.end_if_preempted()
                # Advantages A_i, reachable targets o+ and weights alpha(q) [Eqs. 1, 4, 6].
                minibatches = gradient.minibatches(samples, step, len(batches.problems_of(step)))
                with session.recording():
                    traces.record(step, minibatches, session.clock)
                rate, sums = learning_rate(training, step), MetricSums()
                for minibatch in minibatches:
                    # Gradient of L_GRPO + alpha(q) L_KD, mean over the problems [Eqs. 1, 3, 5, 7].
                    sums.add(gradient.accumulate(minibatch))
                    norm, taken = optimizer_step(
                        policy, optimizer, rate, training.max_grad_norm, training.skip_grad_norm
                    )
                    sums.add_update(norm, taken, world)
                    if taken:
                        gradient.guide.follow()
                return_freed_memory(world.device)
                session.finish(step, samples, batches, sums, rate)
        return session.ended()
