# What a branch must hold. A model is two files:
#   floor   "XID MULTI OID": ids up to these were given on this history by something durable
#   rows    "KEY XID STATES": the states a transaction may be found in: L committed, in log;
#           P prepared; N neither. More than one letter: a client did not hear how it ended.
#
#   awk -f model.awk -v mode=fold [-v clean=1] [-v strict=LINES] -v out=DIR floor rows EVENTS...
#     adds what clients (nested_rounds/work.sh) were told. clean: the compute was shut down cleanly
#     afterwards, which makes everything durable. strict: what is in a file of events after so many
#     lines may have happened or not; strict=-1 (the default): all of it did.
#   awk -f model.awk -v mode=check -v out=DIR floor rows FOUND
#     compares with what check.sql found; prints the differences; the model becomes what was found.
#
# Plain PostgreSQL may give the id of a transaction again when nothing of it was flushed before a
# crash. So an id counts once its client was told of something flushed after it.

BEGIN { if (strict == "") strict = -1 }

FILENAME == ARGV[1] { xid_floor = $1 + 0; multi_floor = $2 + 0; oid_floor = $3 + 0; next }
FILENAME == ARGV[2] { xid[$1] = $2; states[$1] = $3; next }

mode == "check" {
    if ($1 == "X") {
        assigned = $2 + 0
        if (assigned <= xid_floor) print "transaction id " $2 " is given again: " xid_floor " was given before"
    } else if ($1 == "C") {
        if ($2 + 0 <= multi_floor) print "the next multixact is " $2 ", but " multi_floor " was given before"
        if ($3 + 0 <= oid_floor) print "the next OID is " $3 ", but " oid_floor " was given before"
    } else if ($1 == "L" || $1 == "P") {
        if ($2 in found) print "transaction " $2 " is there twice: " found[$2] ", " $1
        found[$2] = $1
        if (!($2 in states) || !index(states[$2], $1))
            print "transaction " $2 " (" $3 ") is " name($1) ", may be: " ($2 in states ? names(states[$2]) : "unknown")
        else if (xid[$2] != $3) print "transaction " $2 " has the id " $3 ", was told " xid[$2]
        if (used[$3]++) print "transaction id " $3 " is there twice"
        # A client may not have heard of it.
        if ($3 + 0 > xid_floor) raised = $3 + 0 > raised ? $3 + 0 : raised
    } else if ($1 == "end") {
        complete = 1
    } else {
        print
    }
    next
}

# mode == "fold": a file of events, "WHAT KEY ID".
FNR == 1 { highest["xid"] = highest["multi"] = highest["oid"] = 0; waiting = 0 }
{ loose = strict >= 0 && FNR > strict }
$1 == "seen" { saw("xid", $3) }
$1 == "multi" || $1 == "oid" { saw($1, $3) }
$1 == "try" { may($2, $3, "LN") }
$1 == "told" { may($2, $3, "L"); durable($3) }
# With synchronous_commit off: durable with what is durable after it.
$1 == "told-async" && clean { may($2, $3, "L") }
$1 == "told-async" && !clean && !loose { later[++waiting] = $2 }
$1 == "try-prepare" { may($2, $3, "PN") }
$1 == "prepared" { may($2, $3, "P"); durable($3) }
$1 == "try-commit" { may($2, $3, "LP") }
$1 == "committed" { may($2, $3, "L"); durable($3) }
$1 == "try-rollback" { may($2, $3, "PN") }
$1 == "rolled-back" { may($2, $3, "N"); durable($3) }

function saw(kind, id) {
    if (!loose && id + 0 > highest[kind]) highest[kind] = id + 0
    if (clean && id + 0 > last[kind]) last[kind] = id + 0
}
function may(key, id, now,    i) {
    if (loose) {
        if (!(key in states)) states[key] = "N"
        for (i = 1; i <= length(now); i++)
            if (!index(states[key], substr(now, i, 1))) states[key] = states[key] substr(now, i, 1)
    } else {
        states[key] = now
    }
    xid[key] = id
}
function durable(id) {
    if (loose) return
    saw("xid", id)
    raise(highest["xid"], highest["multi"], highest["oid"])
    for (; waiting > 0; waiting--) states[later[waiting]] = "L"
}
function raise(x, m, o) {
    if (x > xid_floor) xid_floor = x
    if (m > multi_floor) multi_floor = m
    if (o > oid_floor) oid_floor = o
}
function name(state) { return state == "L" ? "committed" : state == "P" ? "prepared" : "neither" }
function names(all,    i, text) {
    for (i = 1; i <= length(all); i++) text = text (i > 1 ? " or " : "") name(substr(all, i, 1))
    return text
}

END {
    if (mode == "check") {
        if (!complete) print "the check did not come to its end"
        if (raised >= assigned) print "transaction id " assigned " is given again: " raised " is in use"
        for (key in states) {
            if (!(key in found) && !index(states[key], "N"))
                print "transaction " key " (" xid[key] ") is missing, must be: " names(states[key])
            if (key in found) states[key] = found[key]; else delete states[key]
        }
        raise(raised, 0, 0)
    }
    if (clean) raise(last["xid"], last["multi"], last["oid"])
    print xid_floor, multi_floor, oid_floor > (out "/floor")
    printf "" > (out "/rows")
    for (key in states) if (states[key] != "N") print key, xid[key], states[key] > (out "/rows")
}
