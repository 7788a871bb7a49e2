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

# Several sources at once: headers and templates are compiled once for all of them, which halves the time of a full
# build. Vector code and programs with their own moc output keep a file to a unit.
option(FETTLE_UNITY "Compile several sources as one unit" OFF)
function(fettle_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${FETTLE_UNITY} UNITY_BUILD_BATCH_SIZE 6)
  if(FETTLE_UNITY)
    # Every type of an anonymous namespace seems to come from an included file then.
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()

# fettle_library(NAME SOURCES...) makes one static library of one folder.
function(fettle_library name)
  add_library(${name} STATIC ${ARGN})
  target_link_libraries(${name} PUBLIC fettle_flags)
  set_target_properties(${name} PROPERTIES AUTOMOC OFF AUTORCC OFF)
  fettle_unity(${name})
endfunction()

# Vector code is compiled once per instruction-set level, each into a namespace of its own.
set(FETTLE_SIMD_FLAGS_baseline "")
set(FETTLE_SIMD_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(FETTLE_SIMD_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi -mavx2 -mfma -mf16c -mbmi2
    -mprefer-vector-width=512)
set(FETTLE_SIMD_FLAGS_bf16 ${FETTLE_SIMD_FLAGS_avx512} -mavx512bf16)
# Sanitized vector code at -O3 takes minutes a file to compile and finds nothing more.
if(FETTLE_SANITIZE)
  set(FETTLE_SIMD_OPTIMIZATION -O1)
else()
  set(FETTLE_SIMD_OPTIMIZATION -O3)
endif()

# fettle_simd_object(NAME LEVEL NAMESPACE SOURCES...): objects with the flags of LEVEL in fettle::kernels::NAMESPACE.
function(fettle_simd_object name level namespace)
  add_library(${name} OBJECT ${ARGN})
  target_link_libraries(${name} PRIVATE fettle_flags)
  target_compile_options(${name} PRIVATE ${FETTLE_SIMD_FLAGS_${level}} ${FETTLE_SIMD_OPTIMIZATION} -fno-math-errno -fno-trapping-math
                         # gcc 12's own AVX-512 headers trip over these
                         -Wno-maybe-uninitialized -Wno-uninitialized)
  target_compile_definitions(${name} PRIVATE FETTLE_SIMD=${namespace})
  set_target_properties(${name} PROPERTIES AUTOMOC OFF AUTORCC OFF)
endfunction()
