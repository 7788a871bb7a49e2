# One place for the flags that every target shares: warnings are errors, sanitizers come from the preset,
# and #include paths are rooted at the repository ("engine/core/error.h").
add_library(fettle_flags INTERFACE)
target_compile_options(fettle_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow=local -Wnon-virtual-dtor -Werror)
# gcc 12's flow analysis reports these in its own standard library and intrinsics headers once it inlines enough
# (PR 105329, PR 105562, PR 105593); sanitizers and clang-tidy watch what they were meant to find.
target_compile_options(fettle_flags INTERFACE -Wno-maybe-uninitialized -Wno-restrict)
# Qt's moc output and fused multiply-add contraction: results must not depend on which file the compiler
# chose to contract, so contraction is spelt out with std::fma where it is wanted.
target_compile_options(fettle_flags INTERFACE -ffp-contract=off)
target_include_directories(fettle_flags INTERFACE ${PROJECT_SOURCE_DIR})
if(FETTLE_SANITIZE)
  target_compile_options(fettle_flags INTERFACE -fsanitize=${FETTLE_SANITIZE} -fno-omit-frame-pointer
                                                -fno-sanitize-recover=all)
  target_link_options(fettle_flags INTERFACE -fsanitize=${FETTLE_SANITIZE})
endif()

# fettle_library(NAME SOURCES...) makes one static library of one folder.
function(fettle_library name)
  add_library(${name} STATIC ${ARGN})
  target_link_libraries(${name} PUBLIC fettle_flags)
  set_target_properties(${name} PROPERTIES AUTOMOC OFF AUTORCC OFF)
endfunction()
