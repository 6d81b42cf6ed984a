from tests.sealing import seal_here_too

seal_here_too()
