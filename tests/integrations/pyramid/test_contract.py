"""Pyramid does with our sessions what every framework does."""

from typing import ClassVar

from tests.integrations import pyramid_site
from tests.integrations.contract import IntegrationContract


class TestSite(IntegrationContract):
    site: ClassVar = pyramid_site
