"""Gives a fresh Bugsink one user, a token for its API, and a project for each name on the command
line. Prints as JSON how to reach them."""

import json
import sys

import django

django.setup()

from bsmain.models import AuthToken  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from projects.models import Project, ProjectMembership, ProjectRole  # noqa: E402
from teams.models import Team  # noqa: E402

NAME = "reader@example.org"
PASSWORD = "only-on-loopback"

user = get_user_model().objects.create_superuser(username=NAME, email=NAME, password=PASSWORD)
team = Team.objects.create(name="hotdogs")
projects = {}
for name in sys.argv[1:]:
    project = Project.objects.create(
        name=name,
        slug=name,
        team=team,
        alert_on_new_issue=False,
        alert_on_regression=False,
        alert_on_unmute=False,
    )
    ProjectMembership.objects.create(
        project=project, user=user, role=ProjectRole.ADMIN, accepted=True
    )
    projects[name] = {"id": project.id, "key": project.sentry_key.hex}

token = AuthToken.create_full_access(description="the run").token
print(json.dumps({"token": token, "user": [NAME, PASSWORD], "projects": projects}))
