"""A function in Python: what `handler` returns is the output."""


def handler(input):
    name = (input or {}).get("name", "world")
    print(f"Python greets {name}")
    return {"greeting": f"hello, {name}"}
