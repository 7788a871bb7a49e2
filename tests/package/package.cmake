# The Debian package, installed into a clean root. Skipped where dpkg is missing.
find_program(FETTLE_DPKG_DEB dpkg-deb)
find_program(FETTLE_SHLIBDEPS dpkg-shlibdeps)
if(FETTLE_DPKG_DEB AND FETTLE_SHLIBDEPS AND TARGET fettle-cli)
  add_test(NAME package COMMAND ${CMAKE_COMMAND} -DBUILD=${PROJECT_BINARY_DIR} -DWORK=${PROJECT_BINARY_DIR}/package-test
           -P ${CMAKE_CURRENT_SOURCE_DIR}/package/check_package.cmake)
  set_tests_properties(package PROPERTIES LABELS package TIMEOUT 300)
endif()
