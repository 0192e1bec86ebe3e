"""Which report of which delivery the progress of a record is, so that a late one takes nothing back."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_tasks_q", "0008_schedules")]

    operations = [
        migrations.AddField(
            model_name="messagerecord",
            name="progress_guard",
            field=models.BigIntegerField(null=True, verbose_name="progress guard"),
        ),
    ]
