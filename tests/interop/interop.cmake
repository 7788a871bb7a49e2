# Other systems load what fettle-cli writes. The checks make their own Python environment from PyPI (large: it holds
# torch) and are skipped, with the reason, where there is none: ctest -L interop
find_package(Python3 COMPONENTS Interpreter)
if(NOT Python3_Interpreter_FOUND)
  message(STATUS "No Python: the interop checks are left out")
  return()
endif()

function(fettle_interop_test name)
  add_test(NAME interop.${name}
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/interop/check_${name}.py ${ARGN})
  set_tests_properties(interop.${name} PROPERTIES LABELS interop SKIP_RETURN_CODE 77 TIMEOUT 1500
    RESOURCE_LOCK interop_env)
endfunction()

fettle_interop_test(export $<TARGET_FILE:fettle-cli>)
fettle_interop_test(compressed $<TARGET_FILE:fettle-cli>)
fettle_interop_test(tokenizer $<TARGET_FILE:fettle-cli>)
fettle_interop_test(dequant)
