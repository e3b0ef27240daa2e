# A program for bash: it reads its input as JSON, and what it writes to $CAISSON_OUTPUT is the output.
name=$(jq -r '.name? // "world"')
echo "bash greets $name"
jq -n --arg name "$name" '{greeting: "hello, \($name)"}' >"$CAISSON_OUTPUT"
