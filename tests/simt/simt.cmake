# The CUDA kernels, compiled by the host compiler and run on the emulator in simt/emulator. Needs no CUDA.
# The thread sanitizer does not know the fibers; the emulator checks the order of accesses itself.
if(NOT FETTLE_SANITIZE MATCHES "thread")
  file(GLOB simt_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/simt/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/simt/emulator/*.cpp)
  file(GLOB simt_kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)
  # "#pragma unroll" is for nvcc.
  set_source_files_properties(${simt_kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS -Wno-unknown-pragmas)
  add_executable(fettle_simt_tests ${simt_tests} ${simt_kernels})
  set_target_properties(fettle_simt_tests PROPERTIES AUTOMOC OFF AUTORCC OFF)
  target_include_directories(fettle_simt_tests PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/simt/emulator)
  target_link_libraries(fettle_simt_tests PRIVATE fettle_test_support fettle_kernels)
  gtest_discover_tests(fettle_simt_tests DISCOVERY_MODE PRE_TEST PROPERTIES LABELS simt TIMEOUT 300)
endif()
# The reader of the compiler's resource report: spills must be refused, clean reports taken.
foreach(report clean spills)
  add_test(NAME simt.ptxas_${report} COMMAND ${CMAKE_COMMAND} -DLOGS=${CMAKE_CURRENT_SOURCE_DIR}/simt/data/${report}.ptxas
           -P ${PROJECT_SOURCE_DIR}/cmake/CheckPtxas.cmake)
  set_tests_properties(simt.ptxas_${report} PROPERTIES LABELS simt TIMEOUT 30)
endforeach()
set_tests_properties(simt.ptxas_spills PROPERTIES WILL_FAIL ON)
