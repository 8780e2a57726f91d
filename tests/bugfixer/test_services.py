"""Opening, regressing, analysing, counting, pruning: once each, whatever else runs."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from celery import current_app
from django.db import connection, transaction
from django.utils import timezone
from kombu import pools

from bugfixer import services, tasks
from bugfixer.errors import UnknownReportError
from bugfixer.intake import Submission
from bugfixer.models import Analysis, Bug, Fingerprint, Report, Screenshot, Status
from ledger.models import Artifact
from tests.bugfixer.builders import PNG, PYTHON_STACK, make_bug, make_report, post


def recorded(kind: str) -> int:
    return Artifact.objects.filter(type=kind).count()


def together(*calls: Callable[[], object]) -> list[object]:
    """Run calls in threads that begin at one moment; return what they gave."""
    gate, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(index: int) -> None:
        gate.wait(10)
        try:
            results[index] = calls[index]()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def resolved(**fields: str) -> Bug:
    bug = make_bug(**fields)
    return services.resolve_bug(bug=bug, notes="", resolved_by="", actor="user:1")


# -- opening -------------------------------------------------------------------------
@pytest.mark.django_db
def test_the_first_report_opens_a_bug_and_records_it():
    report = make_report(severity="high", component="Cart", system="shop")

    bug, artifact = Bug.objects.get(), Artifact.objects.get()
    assert (bug.severity, bug.component, bug.system) == ("high", "Cart", "shop")
    assert (bug.title, bug.status) == ("Test error", Status.OPEN)
    assert artifact.type == "bug_opened"
    assert artifact.source == "bugfixer"
    assert artifact.subject == f"bug:{bug.pk}"
    assert artifact.details["fingerprint"] == Fingerprint.objects.get().value
    assert report.received_at == bug.first_seen == bug.last_seen


@pytest.mark.django_db
def test_the_second_report_records_nothing():
    make_report()
    make_report()

    assert Bug.objects.count() == 1
    assert Report.objects.count() == 2
    assert recorded("bug_opened") == 1


@pytest.mark.django_db
def test_reports_that_differ_in_a_number_are_one_bug():
    make_report(error_message="user 17 not found")
    make_report(error_message="user 4711 not found")

    assert Bug.objects.count() == 1


@pytest.mark.django_db
def test_artifacts_hold_no_personal_data():
    secrets = {
        "error_message": "Boom for someone@example.com at 203.0.113.9",
        "error_stack": "Error: mine\n    at pay (http://h/secretpage.js:1:2)",
        "page_url": "http://h/secretpage?user=bob",
        "user_id": "user-77",
        "user_email": "someone@example.com",
        "user_agent": "SpecialBrowser",
    }
    report = make_report(**secrets)
    services.analyze_bug(report=report, actor="user:1")
    services.resolve_bug(
        bug=report.bug, notes="for Eve", resolved_by="Eve", actor="user:1"
    )
    make_report(**secrets)

    bodies = "".join(Artifact.objects.values_list("body", flat=True))

    assert Artifact.objects.count() == 4
    for word in (
        "someone", "203.0", "Boom", "secretpage", "bob", "user-77", "Special", "Eve",
    ):  # fmt: skip
        assert word not in bodies


@pytest.mark.django_db
def test_a_rolled_back_report_leaves_nothing():
    def report_and_fail() -> None:
        with transaction.atomic():
            make_report()
            message = "the caller fails"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        report_and_fail()

    assert not Bug.objects.exists()
    assert not Fingerprint.objects.exists()
    assert not Report.objects.exists()
    assert not Artifact.objects.exists()


@pytest.mark.django_db
def test_an_unknown_report_has_a_named_error():
    with pytest.raises(UnknownReportError) as raised:
        services.find_report("BUG-1-00000000")

    assert raised.value.report_id == "BUG-1-00000000"


@pytest.mark.django_db(transaction=True)
def test_two_first_reports_at_once_are_one_bug_and_one_artifact():
    sent = Submission(error_message="race", page_url="/", severity="low")

    for turn in range(5):
        sent = Submission(
            error_message=f"race {'abcde'[turn]}", page_url="/", severity="low"
        )
        taken = together(*[lambda s=sent: services.report_bug(s)] * 2)
        assert all(isinstance(one, services.Taken) for one in taken), taken

    assert Bug.objects.count() == Fingerprint.objects.count() == 5
    assert Report.objects.count() == 10
    assert recorded("bug_opened") == 5


@pytest.mark.django_db(transaction=True)
def test_one_event_sent_twice_at_once_is_stored_once():
    for turn in range(5):
        sent = [
            Submission(
                error_message=f"event {turn} {word}",
                page_url="/",
                severity="low",
                client_event_id=f"e-{turn}",
            )
            for word in ("one", "one" if turn % 2 else "other")
        ]
        taken = together(*[lambda s=s: services.report_bug(s) for s in sent])
        assert len({one.report.report_id for one in taken}) == 1
        assert sorted(one.repeated for one in taken) == [False, True]

    assert Report.objects.count() == 5
    assert Bug.objects.count() == recorded("bug_opened")
    assert all(bug.reports.exists() for bug in Bug.objects.all())


# -- coming back ---------------------------------------------------------------------
@pytest.mark.django_db
def test_a_fixed_bug_that_is_seen_again_has_regressed():
    bug = resolved()

    report = make_report()

    bug.refresh_from_db()
    artifact = Artifact.objects.get(type="bug_regressed")
    assert bug.status == Status.REGRESSED
    assert bug.wire_status == "open"
    assert bug.regressed_at == report.received_at
    assert artifact.details["before"] == "fixed"
    assert artifact.subject == f"bug:{bug.pk}"


@pytest.mark.django_db
def test_an_ignored_bug_stays_ignored():
    bug = make_bug()
    Bug.objects.update(status=Status.IGNORED)

    make_report()

    bug.refresh_from_db()
    assert bug.status == Status.IGNORED
    assert recorded("bug_regressed") == 0


@pytest.mark.django_db(transaction=True)
def test_of_several_reports_at_once_one_records_the_regression():
    bug = resolved()

    together(*[make_report] * 4)

    bug.refresh_from_db()
    assert bug.status == Status.REGRESSED
    assert Report.objects.count() == 5
    assert recorded("bug_regressed") == 1


@pytest.mark.django_db(transaction=True)
def test_two_who_resolve_at_once_are_recorded_once():
    bug = make_bug()

    def resolve() -> None:
        services.resolve_bug(bug=bug, notes="", resolved_by="", actor="user:1")

    together(resolve, resolve)

    assert recorded("bug_resolved") == 1


# -- the broker ----------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_with_the_broker_away_a_report_is_stored_all_the_same(client):
    conf = current_app.conf
    before = conf.broker_url
    conf.broker_url = "redis+socket:///tmp/no-such-redis.sock"
    _forget_connections()
    try:
        answer = post(client)
    finally:
        conf.broker_url = before
        _forget_connections()

    assert answer.status_code == 200
    assert Report.objects.count() == 1


def _forget_connections() -> None:
    pools.reset()
    current_app._pool = None
    current_app.amqp._producer_pool = None


@pytest.mark.django_db
def test_opening_a_bug_wakes_the_worker_after_the_commit_and_not_before(
    django_capture_on_commit_callbacks,
):
    with django_capture_on_commit_callbacks() as first:
        make_report()
    with django_capture_on_commit_callbacks() as second:
        make_report()

    assert len(first) == 1
    assert second == []


# -- counting ------------------------------------------------------------------------
@pytest.mark.django_db
def test_the_sweep_adds_reports_to_their_bugs_once():
    for name in ("alpha", "beta", "alpha", "alpha"):
        make_report(error_message=name)

    taken = tasks.count_reports(), tasks.count_reports()

    assert taken == (4, 0)
    numbers = dict(Bug.objects.values_list("title", "occurrences"))
    assert numbers == {"alpha": 3, "beta": 1}
    assert not Report.objects.uncounted().exists()


@pytest.mark.django_db
def test_the_sweep_moves_last_seen_forward_and_never_back():
    bug = make_bug()
    later = make_report().received_at
    services.count_reports()
    Bug.objects.filter(pk=bug.pk).update(last_seen=later + timedelta(hours=1))
    make_report()

    services.count_reports()

    bug.refresh_from_db()
    assert bug.last_seen == later + timedelta(hours=1)
    assert bug.occurrences == 3


@pytest.mark.django_db
def test_a_sweep_that_dies_half_way_counts_nothing_and_the_next_counts_all():
    for _ in range(3):
        make_report()

    def die_before_commit() -> None:
        with transaction.atomic():
            services.count_reports()
            message = "killed"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        die_before_commit()

    assert Bug.objects.get().occurrences == 0
    assert services.count_reports() == 3
    assert Bug.objects.get().occurrences == 3


@pytest.mark.django_db
def test_a_sweep_takes_no_more_than_its_limit():
    for _ in range(5):
        make_report()

    assert [services.count_reports(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert Bug.objects.get().occurrences == 5


@pytest.mark.django_db(transaction=True)
def test_sweeps_and_reports_at_once_count_each_report_once():
    names = ["alpha", "beta", "gamma"]
    for name in names:
        make_report(error_message=name)

    def report_some() -> None:
        for turn in range(10):
            make_report(error_message=names[turn % 3])

    def sweep_some() -> None:
        for _ in range(10):
            services.count_reports(limit=4)

    results = together(report_some, report_some, sweep_some, sweep_some)
    while services.count_reports():
        pass

    assert results == [None] * 4
    assert Report.objects.count() == 23
    assert sum(Bug.objects.values_list("occurrences", flat=True)) == 23


# -- analysing -----------------------------------------------------------------------
@pytest.mark.django_db
def test_the_sweep_analyses_new_bugs_once():
    for name in ("alpha", "beta"):
        make_report(error_message=name, error_stack=PYTHON_STACK)

    done = tasks.analyze_wanted(), tasks.analyze_wanted()

    assert done == (2, 0)
    assert Analysis.objects.filter(source="offline").count() == 2
    assert recorded("bug_analyzed") == 2


@pytest.mark.django_db
def test_the_sweep_leaves_no_bug_analyzing():
    bug = make_bug()
    Bug.objects.update(analysis_wanted_at=timezone.now())

    tasks.analyze_wanted()

    bug.refresh_from_db()
    assert bug.analysis_wanted_at is None
    assert bug.analyses.count() == 1


@pytest.mark.django_db
def test_a_fixed_bug_is_not_analysed_unasked():
    resolved()

    assert tasks.analyze_wanted() == 0


@pytest.mark.django_db(transaction=True)
def test_two_analyses_at_once_are_one():
    report = make_report(error_stack=PYTHON_STACK)

    def analyze() -> int:
        return services.analyze_bug(report=report, actor="user:1").pk

    one, other = together(analyze, analyze)

    assert one == other
    assert recorded("bug_analyzed") == 1


@pytest.mark.django_db
def test_a_models_answer_is_preferred_to_the_offline_one():
    report = make_report()
    services.analyze_bug(report=report, actor="")
    Analysis.objects.create(
        bug=report.bug,
        source="openai",
        prompt_version="1",
        input_hash="x",
        text="from a model",
        created_at=timezone.now(),
    )
    services.analyze_offline(bug=report.bug, report=report, actor="")

    assert services.analyze_bug(report=report, actor="").text == "from a model"


# -- forgetting ----------------------------------------------------------------------
@pytest.mark.django_db
def test_old_reports_go_but_the_first_the_last_and_the_regression(settings):
    settings.RETENTION_DAYS = 30
    first, _, _ = (make_report() for _ in range(3))
    services.resolve_bug(bug=first.bug, notes="", resolved_by="", actor="user:1")
    regression, _, last = (make_report() for _ in range(3))
    services.count_reports()
    _age_everything(days=31)

    deleted = tasks.prune_reports()

    kept = set(Report.objects.values_list("report_id", flat=True))
    assert kept == {r.report_id for r in (first, regression, last)}
    assert deleted == 3
    assert Bug.objects.get().occurrences == 6


@pytest.mark.django_db
def test_young_and_uncounted_reports_stay(settings):
    settings.RETENTION_DAYS = 30
    for _ in range(3):
        make_report()

    young = tasks.prune_reports()
    _age_everything(days=31)
    uncounted = tasks.prune_reports()

    assert (young, uncounted) == (0, 0)
    assert Report.objects.count() == 3


@pytest.mark.django_db
def test_old_reports_that_stay_say_no_longer_whose_they_were(client, settings):
    settings.RETENTION_DAYS = 30
    post(client, userId="u-1", userEmail="someone@example.com", screenshotData=PNG)
    _age_everything(days=31)
    post(client, userId="u-2", userEmail="other@example.com")

    tasks.prune_reports()

    old, young = Report.objects.order_by("id")
    assert (old.user_id, old.user_email) == ("", "")
    assert (young.user_id, young.user_email) == ("u-2", "other@example.com")
    assert not Screenshot.objects.exists()


def _age_everything(days: int) -> None:
    for report in Report.objects.select_related("bug"):
        Report.objects.filter(pk=report.pk).update(
            received_at=report.received_at - timedelta(days=days)
        )
    for bug in Bug.objects.exclude(regressed_at=None):
        Bug.objects.filter(pk=bug.pk).update(
            regressed_at=bug.regressed_at - timedelta(days=days)
        )
