"""What the tests of every framework share."""

import pytest

pytest.register_assert_rewrite("tests.integrations.contract")
