"""Make the four groups with their permissions."""

from django.db import migrations

from fortheweebs.groups import make_groups


def forwards(apps, schema_editor):
    """Make the groups in the database that is migrated."""
    make_groups(apps, schema_editor.connection.alias)


class Migration(migrations.Migration):
    """Roles as groups."""

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("knox", "0009_extend_authtoken_field"),
        ("ledger", "0001_initial"),
        ("breakers", "0001_initial"),
        ("health", "0001_initial"),
        ("bugfixer", "0001_initial"),
    ]

    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
