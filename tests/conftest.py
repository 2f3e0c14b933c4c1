import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def float32():
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.fixture
def closed():
    """Leaves no figure open."""
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture
def shown(tmp_path, capsys):
    """Runs the demo with its figure in a fresh directory; gives what it prints."""
    from gradtx.demo.__main__ import main

    def run(*arguments):
        main([*arguments, "--out", str(tmp_path / "new" / "out")])
        return capsys.readouterr().out

    return run


@pytest.fixture
def refusal(capsys):
    """Runs the demo with wrong arguments; gives its last line on stderr."""
    from gradtx.demo.__main__ import main

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        assert caught.value.code == 2
        out, err = capsys.readouterr()
        assert not out
        return err.splitlines()[-1]

    return run
