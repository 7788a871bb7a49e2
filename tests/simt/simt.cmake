# The CUDA kernels, compiled by the host compiler and run on the emulator in simt/emulator. Needs no CUDA.
# A build with the CUDA backend has the same functions for a device.
set(FETTLE_SIMT_SANITIZE "" CACHE STRING "Sanitizers for the emulated kernels and their tests alone: all else is built as it is")
if(NOT TARGET fettle_cuda)
  file(GLOB simt_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/simt/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/simt/emulator/*.cpp)
  file(GLOB simt_kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)
  # "#pragma unroll" is for nvcc.
  set_source_files_properties(${simt_kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS -Wno-unknown-pragmas)
  add_executable(fettle_simt_tests ${simt_tests} ${simt_kernels}
    ${PROJECT_SOURCE_DIR}/engine/backend/cuda_backend.cpp ${PROJECT_SOURCE_DIR}/engine/backend/cuda_work.cpp ${PROJECT_SOURCE_DIR}/engine/backend/device_pool.cpp
    ${PROJECT_SOURCE_DIR}/engine/backend/split_backend.cpp ${PROJECT_SOURCE_DIR}/engine/backend/step_graphs.cpp ${PROJECT_SOURCE_DIR}/engine/backend/weight_stream.cpp
    ${PROJECT_SOURCE_DIR}/engine/train/device_network.cpp ${PROJECT_SOURCE_DIR}/engine/train/device_train_engine.cpp)
  set_target_properties(fettle_simt_tests PROPERTIES AUTOMOC OFF AUTORCC OFF)
  target_include_directories(fettle_simt_tests PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/simt/emulator)
  target_link_libraries(fettle_simt_tests PRIVATE fettle_test_support fettle_engine)
  set(simt_sanitize ${FETTLE_SIMT_SANITIZE})
  if(simt_sanitize)
    target_compile_options(fettle_simt_tests PRIVATE -fsanitize=${simt_sanitize} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O1)
    target_link_options(fettle_simt_tests PRIVATE -fsanitize=${simt_sanitize})
  endif()
  set(simt_filter "")
  if("${simt_sanitize};${FETTLE_SANITIZE}" MATCHES "thread")
    # Each CUDA thread is a thread to the sanitizer. The emulator's own state is not theirs; kernels that race on purpose are left out.
    file(GLOB emulator_sources ${CMAKE_CURRENT_SOURCE_DIR}/simt/emulator/*.cpp)
    set_source_files_properties(${emulator_sources} PROPERTIES COMPILE_OPTIONS -fno-sanitize=thread)
    target_compile_definitions(fettle_simt_tests PRIVATE FETTLE_SIMT_TSAN)
    set(simt_filter TEST_FILTER "-*Mutation*:Emulator*")
    # What orders the threads of the host has to be seen as well, though the rest of the host's code is built as it is.
    if(NOT "${FETTLE_SANITIZE}" MATCHES "thread")
      set(worker_pool ${PROJECT_SOURCE_DIR}/kernels/ops/worker_pool.cpp)
      set_source_files_properties(${worker_pool} TARGET_DIRECTORY fettle_kernels PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
      target_sources(fettle_simt_tests PRIVATE ${worker_pool})
    endif()
  endif()
  # Which lines of the kernels the tests execute: the target fettle_cuda_coverage runs them all and says it.
  option(FETTLE_COVERAGE "Count the lines of the CUDA kernels that tests execute on the emulator" OFF)
  if(FETTLE_COVERAGE)
    set_property(SOURCE ${simt_kernels} APPEND PROPERTY COMPILE_OPTIONS --coverage -O1)
    target_link_options(fettle_simt_tests PRIVATE --coverage)
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    get_filename_component(compiler_folder ${CMAKE_CXX_COMPILER} DIRECTORY)
    string(REGEX MATCH "^[0-9]+" compiler_major ${CMAKE_CXX_COMPILER_VERSION})
    find_program(FETTLE_GCOV NAMES gcov-${compiler_major} gcov HINTS ${compiler_folder} REQUIRED)
    add_custom_target(fettle_cuda_coverage VERBATIM USES_TERMINAL COMMAND fettle_simt_tests --gtest_brief=1
      COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/cmake/cuda_coverage.py --objects ${CMAKE_CURRENT_BINARY_DIR}
              --source ${PROJECT_SOURCE_DIR} --gcov ${FETTLE_GCOV} --lines)
  endif()
  gtest_discover_tests(fettle_simt_tests ${simt_filter} DISCOVERY_MODE PRE_TEST PROPERTIES LABELS simt TIMEOUT 300 PROCESSOR_AFFINITY ON)
endif()
# Needs a device; says so and skips without one.
if(TARGET fettle_cuda)
  file(GLOB gpu_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/simt/gpu/*.cpp)
  add_executable(fettle_gpu_tests ${gpu_tests} ${CMAKE_CURRENT_SOURCE_DIR}/simt/test_cuda_kernels.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/simt/test_cuda_tensor.cpp ${CMAKE_CURRENT_SOURCE_DIR}/simt/test_cuda_algorithms.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/simt/test_cuda_train.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/simt/test_device_pool.cpp)
  set_target_properties(fettle_gpu_tests PROPERTIES AUTOMOC OFF AUTORCC OFF)
  target_compile_definitions(fettle_gpu_tests PRIVATE FETTLE_ON_GPU)
  target_link_libraries(fettle_gpu_tests PRIVATE fettle_test_support fettle_engine fettle_cuda CUDA::cudart_static)
  gtest_discover_tests(fettle_gpu_tests DISCOVERY_MODE PRE_TEST PROPERTIES LABELS gpu TIMEOUT 300)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  # The same tests under NVIDIA's tools, where they are installed: test preset cuda-sanitizer.
  foreach(tool memcheck racecheck initcheck synccheck)
    add_test(NAME compute_sanitizer.${tool} COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/cmake/compute_sanitizer.py
      --tool ${tool} --program $<TARGET_FILE:fettle_gpu_tests>)
    set_tests_properties(compute_sanitizer.${tool} PROPERTIES LABELS compute-sanitizer TIMEOUT 7200 SKIP_RETURN_CODE 77 RUN_SERIAL ON)
  endforeach()
  # What the compiler made of each kernel.
  add_test(NAME cuda.static_table COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/cmake/cuda_static_table.py
    --logs ${FETTLE_CUDA_LOGS} --ptx ${FETTLE_CUDA_PTX} --table ${CMAKE_CURRENT_SOURCE_DIR}/simt/data/cuda_kernels.tsv)
  set_tests_properties(cuda.static_table PROPERTIES LABELS cuda TIMEOUT 60)
endif()
# The reader of the compiler's resource report: spills must be refused, clean reports taken.
foreach(report clean spills)
  add_test(NAME simt.ptxas_${report} COMMAND ${CMAKE_COMMAND} -DLOGS=${CMAKE_CURRENT_SOURCE_DIR}/simt/data/${report}.ptxas
           -P ${PROJECT_SOURCE_DIR}/cmake/CheckPtxas.cmake)
  set_tests_properties(simt.ptxas_${report} PROPERTIES LABELS simt TIMEOUT 30)
endforeach()
set_tests_properties(simt.ptxas_spills PROPERTIES WILL_FAIL ON)
