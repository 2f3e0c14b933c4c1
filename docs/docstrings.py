"""Docstrings as the site shows them: examples as code, names as links, the fields of states with their comments."""

import re

import griffe

EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)
DISPLAYED = re.compile(r"\$\$.+?\$\$", re.DOTALL)
COMMENT = re.compile(r"  # (.+)$")


# A factory is a function; what is made of it by its decorator returns something else than the function does.
MADE = dict.fromkeys(["transformation", "composition"], "Transformation")
MADE |= {"schedule": "Schedule", "selector": "Selector"}


class Docstrings(griffe.Extension):
    def on_object(self, *, obj, **kwargs):
        if obj.is_function:
            for made in filter(None, (MADE.get(str(x.value)) for x in obj.decorators)):
                obj.returns = griffe.ExprName(made, parent=obj.package)
        if obj.is_function and any(str(x.value).startswith("law(") for x in obj.decorators):
            del obj.parameters["example"]  # a law is called with a subject, and finds its examples
        if obj.docstring:
            text = EXAMPLE.sub(fenced, obj.docstring.value)
            text = DISPLAYED.sub(r"\n\n\g<0>\n\n", text)
            if obj.is_class and any(str(base) == "NamedTuple" for base in obj.bases):
                text = re.sub(r"\n+(?=```)|\Z", lambda _: table(obj), text, count=1)
            obj.docstring.value = linked(obj, text)


def table(state):
    """The fields of a NamedTuple, with the comments behind them."""
    rows = ["| field | type | |", "| --- | --- | --- |"]
    for field in state.attributes.values():
        if field.annotation is not None and "property" not in field.labels:
            comment = COMMENT.search(field.source.splitlines()[0])
            rows.append(f"| `{field.name}` | `{field.annotation}` | {comment[1] if comment else ''} |")
    return "\n\n" + "\n".join(rows) + "\n\n"


def fenced(example):
    text = re.sub(r" *# doctest:.*", "", example[0]).replace("<BLANKLINE>", "")
    return f"\n```pycon\n{text}\n```"


def place(module, name):
    """The path of a public name: where it is defined, if a folder has its name too."""
    return module.imports[name] if module.members[name].is_module else f"{module.path}.{name}"


def linked(obj, text):
    """The text with links from public names, where they can't be those of an argument or a field."""
    testing = obj.package["testing"]
    names = {name: place(module, name) for module in (testing, obj.package) for name in map(str, module.exports)}
    taken = {obj.name, *(x.name for x in getattr(obj, "parameters", ()))}
    taken |= {field for x in obj.module.classes.values() for field in x.attributes}

    def link(code):
        name = code[1]
        return f"[{code[0]}][{names[name]}]" if name in names and name not in taken else code[0]

    prose = re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else re.sub(r"`(\w+)`", link, part) for part in prose)
