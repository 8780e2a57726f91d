"""Where the slot stands among the steps of a Celery worker."""

from celery.worker import WorkController

from fortheweebs.celery import app


def test_the_slot_goes_before_main_waits_for_its_last_tasks():
    blueprint = WorkController.Blueprint(steps=app.steps["worker"])

    order = [step.name for step in blueprint._finalize_steps(blueprint.claim_steps())]

    # They are stopped from the last to the first.
    pool = order.index("celery.worker.components.Pool")
    assert order.index("health.celeryparts.SlotStep") > pool
