# Sourced by the scripts of the small world: which one they use, as `world`; with its PRM, where `needs_prm` is 1.
#   WORLD unset    the one that comes with the repository (examples/small_world/world), its files checked by their hashes
#   WORLD=new      made from nothing with the same commands in OUTPUT_DIR/world: an hour; what is there is kept, and what
#                  was cut off goes on. WORLD_SETTINGS: flags of make_world
#   WORLD=FOLDER   another that make_world wrote
#   before: root, python, OUTPUT_DIR
case ${WORLD:-} in
"")
    world=$root/examples/small_world/world
    "$python" -m examples.small_world.shipped_world check "$world"
    ;;
new)
    world=$OUTPUT_DIR/world
    # shellcheck disable=SC2086
    "$python" -m examples.small_world.make_world --output_dir "$world" ${WORLD_SETTINGS:-} >/dev/null
    if [ "${needs_prm:-1}" = 1 ]; then
        PYTHON=$python WORLD=$world bash "$root/examples/small_world/train_prm.sh"
    fi
    ;;
*)
    world=$WORLD
    if [ ! -f "$world/world.json" ]; then
        echo "WORLD: $world holds no finished small world. Unset it for the one that comes with the repository; WORLD=new makes one" >&2
        exit 2
    fi
    if [ "${needs_prm:-1}" = 1 ] && [ ! -f "$world/prm/config.json" ]; then
        echo "WORLD: $world has no PRM yet. WORLD=$world bash examples/small_world/train_prm.sh trains it" >&2
        exit 2
    fi
    ;;
esac
