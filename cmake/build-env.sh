# Shared by ./run and ./check: packages and the release build. Sourced; the caller stands in the project's root.

# ensure_packages GROUP...: installs what is missing of the groups in cmake/packages.txt. Asks dpkg first, so that a
# machine that has everything never touches apt.
ensure_packages() {
    command -v dpkg-query >/dev/null || {
        echo "This system has no dpkg: install what cmake/packages.txt lists by hand." >&2
        return 0
    }
    local groups=" $* " group names name found missing=()
    local installed
    installed=$'\n'$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' 2>/dev/null | sed -n 's/^ii *//p')$'\n'
    while read -r group names _; do
        [[ -z $group || $group == \#* || $groups != *" $group "* ]] && continue
        found=
        for name in ${names//|/ }; do
            [[ $installed == *$'\n'"$name"$'\n'* ]] && found=yes
        done
        [[ $found ]] || missing+=("$names")
    done < cmake/packages.txt
    (( ${#missing[@]} )) || return 0

    local sudo=()
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null || {
            echo "Missing: ${missing[*]} — install them as root, or install sudo." >&2
            return 1
        }
        sudo=(sudo)
    fi
    echo "Installing ${missing[*]}" >&2
    local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
    "${apt[@]}" update >&2
    local chosen=()
    for names in "${missing[@]}"; do
        for name in ${names//|/ }; do
            if [[ -n $(apt-cache show --no-all-versions "$name" 2>/dev/null) ]]; then
                chosen+=("$name")
                continue 2
            fi
        done
        echo "No package source of this system offers ${names//|/ or }." >&2
        return 1
    done
    "${apt[@]}" install --no-install-recommends "${chosen[@]}" >&2
}

# configure PRESET [OPTION...]: once; Ninja notices by itself when a build file has changed.
configure() {
    local preset=$1
    shift
    [[ -f build/$preset/build.ninja ]] || cmake --preset "$preset" "$@" >&2
}
