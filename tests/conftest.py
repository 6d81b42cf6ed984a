"""What every test module shares."""

import pytest

pytest.register_assert_rewrite("session_middleware.testing")
