# shellcheck shell=bash
# The tree of branches that nested_rounds.sh lets grow and shrink. Sourced by it: uses its functions and
# changes its arrays and counters (branches, next_branch, depth_seen, points_used, gone, deleted).

# adopt CHILD PARENT [STATE-DIRECTORY]: the new branch's model, of its parent's or of a point of it.
adopt() {
    local directory from=${3:-$(model "$2")} depth
    directory=$(model "$1")
    mkdir -p "$directory/points"
    cp "$from/"{floor,rows} "$directory"
    depth=$(($(cat "$(model "$2")/depth" 2> /dev/null || cat "$from/depth") + 1))
    printf '%s\n' "$depth" > "$directory/depth"
    milliseconds > "$directory/rested"
    [ "$depth" -le "$depth_seen" ] || depth_seen=$depth
    branches+=("$1")
}

# branch_at CHILD PARENT POINT STATE-DIRECTORY YOUNG: a branch of a past point; it may be gone when it is
# older than what is kept, but then the error must say so.
branch_at() {
    local output
    if output=$("$ZENITH" branch "$1" "$3" 2>&1); then
        adopt "$1" "$2" "$4"
        points_used=$((points_used + 1))
    elif [ "$5" = 1 ] || ! grep -qE 'oldest (LSN|one that is kept|point) is [0-9A-F]+/[0-9A-F]+' <<< "$output"; then
        broken "zenith branch $1 $3: $output"
    else
        gone=$((gone + 1))
    fi
}

pick_parent() {
    local i
    # The newest ones are the deepest.
    for ((i = 0; i < 3; i++)); do
        if [ $((RANDOM % 2)) = 0 ]; then
            parent=${branches[-1]}
        else
            parent=${branches[RANDOM % ${#branches[@]}]}
        fi
        [ "$(cat "$(model "$parent")/depth")" -ge "$deepest" ] || return 0
    done
    parent=main
}

new_branch() {
    local child=b$next_branch parent points now rested tags
    pick_parent
    next_branch=$((next_branch + 1))
    points=("$(model "$parent")/points/"*)
    now=$(milliseconds)
    rested=$(cat "$(model "$parent")/rested" 2> /dev/null || echo "$now")
    tags=("$WORK/tags/"*)
    case $((RANDOM % 8)) in
        0 | 1 | 2)
            local point=${points[RANDOM % ${#points[@]}]} places=(lsn time) place young
            place=${places[RANDOM % 2]}
            if [ -e "$point" ]; then
                place=$(cat "$point/$place")
                # Half a second for the command itself.
                young=$((now - $(cat "$point/noted") < pitr_seconds * 1000 - 500))
                branch_at "$child" "$parent" "$parent@$place" "$point" $young
                return
            fi
            ;;
        3 | 4)
            if [ $((now - rested)) -gt 1100 ]; then
                branch_at "$child" "$parent" "$parent@-1s" "$(model "$parent")" 1
                return
            fi
            ;;
        5)
            local tag=${tags[RANDOM % ${#tags[@]}]}
            if [ -e "$tag" ] && [ "$(cat "$tag/depth")" -lt "$deepest" ]; then
                branch_at "$child" "(the tag's)" "${tag##*/}" "$tag" 1
                return
            fi
            ;;
    esac
    step branch "$child" "$parent"
    adopt "$child" "$parent"
}

# new_tag BRANCH: of the point that was noted in this round.
new_tag() {
    local tag=tag$round-$1 point old
    point=$(model "$1")/points/$round
    step tag "$tag" "$1@$(cat "$point/lsn")"
    cp -r "$point" "$WORK/tags/$tag"
    cp "$(model "$1")/depth" "$WORK/tags/$tag"
    ls -rv "$WORK/tags" | tail -n +5 | while read -r old; do
        step drop_tag "$old"
        rm -r "$WORK/tags/${old:?}"
    done
}

# Any branch but main, with children or without.
delete_branch() {
    local index=$((1 + RANDOM % (${#branches[@]} - 1))) branch
    branch=${branches[index]}
    if [ -e "$REPO/computes/$branch" ]; then
        check_log "$branch"
        step destroy "$branch"
    fi
    step drop_branch "$branch"
    rm -rf "$(model "$branch")" "$WORK/events/$branch".*
    branches=("${branches[@]:0:index}" "${branches[@]:index + 1}")
    deleted=$((deleted + 1))
}
