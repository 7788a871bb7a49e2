# The include rules of the layers as a test: a folder that includes what it may not fails here, even where a header
# happens to be found without linking.
add_test(NAME layering COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -P
         ${CMAKE_CURRENT_SOURCE_DIR}/layering/check_includes.cmake)
set_tests_properties(layering PROPERTIES LABELS "fast;layering" TIMEOUT 120)
# The checker itself: a tree of forbidden includes must be refused, each with its file named.
add_test(NAME layering.refuses COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -DSELF_TEST=ON -P
         ${CMAKE_CURRENT_SOURCE_DIR}/layering/check_includes.cmake)
set_tests_properties(layering.refuses PROPERTIES LABELS "fast;layering" TIMEOUT 120)
