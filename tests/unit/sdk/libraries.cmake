hatchd_unit_test(sdk hatch_sdk hatch_shared)

# The template is built here as a part of the tree, and once more by itself against an installed SDK, as its reader will.
add_library(template_mine MODULE ${PROJECT_SOURCE_DIR}/plugins/sdk/template/mine.cpp)
set_target_properties(template_mine PROPERTIES OUTPUT_NAME mine PREFIX ""
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fixtures)
target_link_libraries(template_mine PRIVATE hatch_sdk)
add_executable(template_mine_test ${PROJECT_SOURCE_DIR}/plugins/sdk/template/mine_test.cpp)
target_link_libraries(template_mine_test PRIVATE hatch_sdk)
add_test(NAME sdk.template COMMAND template_mine_test)
add_test(NAME sdk.template_alone COMMAND ${CMAKE_COMMAND} -DBUILD=${CMAKE_BINARY_DIR} -DCOMPILER=${CMAKE_CXX_COMPILER}
  -DWORK=${CMAKE_CURRENT_BINARY_DIR}/template_alone -P ${CMAKE_CURRENT_SOURCE_DIR}/sdk/template_alone.cmake)
set_tests_properties(sdk.template_alone PROPERTIES TIMEOUT 300)
